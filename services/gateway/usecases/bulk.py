"""Many at once: what one call or file brings goes through the intake in parts, and never takes more than its share of the house.

A part is screened and written as one batch. Its items hold places until their drives have ended, so that what is slow outside slows
its own kind down and nobody else: callers of single payments are admitted as if there were no bulk.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Generic, TypeVar

import prometheus_client

from libs.db.errors import is_connection_lost
from libs.errors import FiscError, OutcomeUnknown, Overloaded
from libs.log import get_logger
from libs.saga import drives
from libs.saga.drives import Drives
from services.gateway.domain.errors import RequestIdReused
from services.gateway.store.sagas import SagaTable, Subject
from services.gateway.usecases.intake import Ask, Intake, Taken

# Items of all bulk work that may be under way at once: two parts, so that one is screened while the other is driven, and few enough
# that a channel which answers slowly still has places for others in time.
IN_FLIGHT_MAX: Final = 128
# A batch of this size costs next to nothing more than one of twice as many, and holds up the others half as long.
PART_MAX: Final = 64
RETRY_AFTER_S: Final = 1.0

S = TypeVar("S", bound=Subject)

_log = get_logger()
_in_flight = prometheus_client.Gauge(
    "bulk_in_flight_items", "Items of bulk calls and files that are under way."
)


class Lane:
    """Places for the items of bulk work, given in the order they are asked for. One event loop only."""

    def __init__(self, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def in_flight(self) -> int:
        """Places taken."""
        return self._in_flight

    async def enter(self, count: int) -> None:
        """Takes `count` places together, once they are free; each must be given back by `leave`."""
        if not self._waiting and self._fits(count):
            self._take(count)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(count)
            else:
                self._waiting.remove((count, turn))
                self._admit()
            raise

    def leave(self, count: int = 1) -> None:
        """Gives places back."""
        self._in_flight -= count
        _in_flight.set(self._in_flight)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            count, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._take(count)
                turn.set_result(None)

    def _fits(self, count: int) -> bool:
        return self._in_flight + count <= self._in_flight_max

    def _take(self, count: int) -> None:
        self._in_flight += count
        _in_flight.set(self._in_flight)


class BulkIntake(Generic[S]):
    """One flow's."""

    def __init__(
        self, *, intake: Intake[S], table: SagaTable[S], lane: Lane, drives: Drives
    ) -> None:
        self._intake = intake
        self._table = table
        self._lane = lane
        self._drives = drives

    async def carry_out(self, asks: Sequence[Ask[S]]) -> list[S | FiscError]:
        """Each with its outcome if that comes in the caller's time, else as it stands; or why it was refused, RequestIdReused included.

        In order. Raises nothing but what the reading of rows raises.
        """
        taken = await self.take(asks)
        await self._drives.wait_all(
            [each.drive for each in taken if isinstance(each, Taken) and each.drive is not None]
        )
        rows = await self._unfinished(taken)
        return [
            self._as_it_stands(ask, each, rows) if isinstance(each, Taken) else each
            for ask, each in zip(asks, taken, strict=True)
        ]

    async def take(self, asks: Sequence[Ask[S]]) -> list[Taken[S] | FiscError]:
        """What became of each, in order; Overloaded for those that found no place in the caller's time. Raises nothing.

        Idempotent by the subjects' identities.
        """
        answers: list[Taken[S] | FiscError] = []
        for start in range(0, len(asks), PART_MAX):
            part = asks[start : start + PART_MAX]
            try:
                async with asyncio.timeout(drives.answer_wait_s()):
                    await self._lane.enter(len(part))
            except TimeoutError:
                none = Overloaded(retry_after_s=RETRY_AFTER_S, limit="bulk_in_flight")
                return [*answers, *[none] * (len(asks) - start)]
            # The process's, not the caller's: what is written is driven, whoever has gone.
            answers += await asyncio.shield(self._drives.start(self._take_part(part)))
        return answers

    async def _take_part(self, part: Sequence[Ask[S]]) -> list[Taken[S] | FiscError]:
        places = len(part)
        try:
            taken = await self._intake.take_all(part)
        except Exception as error:  # noqa: BLE001 - each of its items must hear of it, and the next part goes on
            return [_refusal(error)] * len(part)
        else:
            for each in taken:
                if isinstance(each, Taken) and each.drive is not None:
                    places -= 1
                    each.drive.add_done_callback(lambda _: self._lane.leave())
            return [each if isinstance(each, Taken) else _refusal(each) for each in taken]
        finally:
            self._lane.leave(places)

    async def _unfinished(self, taken: Sequence[Taken[S] | FiscError]) -> Mapping[str, S]:
        """Those that are still driven, as their rows say now; by id."""
        ids = [
            self._table.key(each.subject)
            for each in taken
            if isinstance(each, Taken) and each.drive and drives.result_of(each.drive) is None
        ]
        return {self._table.key(row): row for row in await self._table.many(ids)} if ids else {}

    def _as_it_stands(self, ask: Ask[S], taken: Taken[S], rows: Mapping[str, S]) -> S | FiscError:
        subject_id = self._table.key(taken.subject)
        if not taken.is_new and taken.subject.fingerprint != ask.fingerprint:
            reused = RequestIdReused(field="request_id")
            reused.metadata[f"{self._table.flow}_id"] = subject_id
            return reused
        ended = None if taken.drive is None else drives.result_of(taken.drive)
        return ended or rows.get(subject_id, taken.subject)


def _refusal(error: BaseException) -> FiscError:
    """What the caller may see in place of what was raised."""
    if isinstance(error, FiscError):
        return error
    if is_connection_lost(error):
        return OutcomeUnknown()
    _log.error("an item of a batch broke", exc_info=error)
    return FiscError()
