"""A bank's file interface: payouts gather in our directory, and go out as files; what the bank puts there is read."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Final, TypeVar

from libs.clock import Clock
from libs.log import get_logger
from services.gateway.channels.answers import Malformed
from services.gateway.channels.iso20022 import classify
from services.gateway.channels.iso20022.drop import Drop, DropBusy, OrderConflict
from services.gateway.channels.iso20022.settings import Settings
from services.gateway.domain.channel import (
    CHANNEL_UNREACHABLE,
    BillNotReady,
    ChannelUnavailable,
    Outcome,
    OutcomeKind,
    PayoutOrder,
)

# The inbox is looked through at most so often, however many ask.
COLLECT_INTERVAL_S: Final = 1.0
GATHERED, HANDED_OVER, NEVER_TAKEN_IN = "GATHERED", "HANDED_OVER", "NEVER_TAKEN_IN"

Result = TypeVar("Result")

_log = get_logger()


class OverFiles:
    """One account at a bank that exchanges files. Implements `Transport`."""

    def __init__(self, drop: Drop, *, settings: Settings, clock: Clock) -> None:
        self._drop = drop
        self._settings = settings
        self._clock = clock
        self._collecting = asyncio.Lock()
        self._collected_at_s = -COLLECT_INTERVAL_S
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Take a payout in; it leaves with the next file. Again under its number: nothing more."""
        try:
            await self._do(lambda: self._drop.accept(order, self._clock.now()))
        except OrderConflict:
            return Outcome(kind=OutcomeKind.UNKNOWN, code="ORDER_CONFLICT")
        except DropBusy as error:
            return _unknown(CHANNEL_UNREACHABLE, error)
        except OSError as error:
            return _unknown("DIRECTORY_FAULT", error)
        self._plan()
        return Outcome(kind=OutcomeKind.PENDING, code=GATHERED)

    async def query(self, out_ref: str) -> Outcome:
        """What the bank's files say of a payout."""
        try:
            await self._collect()
            await self._do(lambda: self._drop.hand_over(self._clock.now()))
            return await self._do(lambda: self._look_up(out_ref))
        except (DropBusy, OSError, ValueError) as error:
            return _unknown("DIRECTORY_FAULT", error)

    async def statement(self, day: date) -> bytes:
        """camt.053 of a day. Raises BillNotReady, ChannelUnavailable."""
        try:
            await self._collect()
            content = await self._do(lambda: self._drop.statement(day))
        except (DropBusy, OSError, Malformed) as error:
            raise ChannelUnavailable(str(error)) from error
        if content is None:
            raise BillNotReady(f"the statement of {day.isoformat()} has not come")
        return content

    async def latest_report(self) -> bytes:
        """The latest account report that came. Raises ChannelUnavailable."""
        try:
            await self._collect()
            content = await self._do(self._drop.latest_report)
        except (DropBusy, OSError) as error:
            raise ChannelUnavailable(str(error)) from error
        if content is None:
            raise ChannelUnavailable("no account report has come yet")
        return content

    def _look_up(self, out_ref: str) -> Outcome:
        known = classify.fold(self._drop.facts(out_ref), out_ref)
        if known is not None:
            return known
        place = self._drop.place(out_ref)
        if place is None:
            return Outcome(kind=OutcomeKind.NOT_FOUND, code=NEVER_TAKEN_IN)
        code = HANDED_OVER if place.is_handed_over else GATHERED
        return Outcome(kind=OutcomeKind.PENDING, code=code)

    async def _collect(self) -> None:
        async with self._collecting:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._collected_at_s < COLLECT_INTERVAL_S:
                return
            await self._do(lambda: self._drop.collect(self._clock.now()))
            self._collected_at_s = now_s

    def _plan(self) -> None:
        """Nobody may ask for a while: what waits leaves when its window closes all the same."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.when() < loop.time():
            self._timer = loop.call_later(self._settings.batch_window_s, self._start_handing_over)

    def _start_handing_over(self) -> None:
        task = asyncio.get_running_loop().create_task(self._hand_over())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_over(self) -> None:
        try:
            await self._do(lambda: self._drop.hand_over(self._clock.now(), is_forced=True))
        except (DropBusy, OSError) as error:
            # The next question, or the next payout, does it again.
            _log.warning("payouts not handed over", error=repr(error))

    async def _do(self, work: Callable[[], Result]) -> Result:
        return await asyncio.to_thread(work)


def _unknown(code: str, error: Exception) -> Outcome:
    return Outcome(kind=OutcomeKind.UNKNOWN, code=code, message=str(error))
