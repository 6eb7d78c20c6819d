"""Booking: the calls of many callers become few transactions, each decided by the pure engine."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Self

from libs.batching.coalescer import LINGER_MAX_S, Coalescer
from libs.clock import Clock
from libs.db.errors import is_connection_lost
from services.account.domain import batch, conversions, errors, ledger, texts
from services.account.domain.commands import (
    CaptureGroup,
    CaptureHold,
    Command,
    ExpireHold,
    Hold,
    HoldVerdict,
    PlaceHold,
    Transfer,
    TransferVerdict,
    Verdict,
    VoidGroup,
    VoidHold,
)
from services.account.domain.conversions import Conversion, ConversionVerdict
from services.account.domain.work import Window
from services.account.store import Overtaken, Store

# A transaction of more commands than this keeps its rows locked for too long.
COMMANDS_PER_TRANSACTION_MAX = 2048
# One lost race shows the winner's row, so a second try answers; more ids may have more winners.
TRIES_MAX = 5
EXPIRED_PER_ROUND_MAX = 256
WRITERS = 2

Call = Sequence[Command]


class Posting:
    """Books transfers and holds. The commands of one call keep their order and share a transaction.

    An async context manager: calls are answered while it is open. Every method is idempotent by the
    ids in it. Raises LostRace (try again) and what the database raises; refusals are verdicts.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        booking_zone: tzinfo,
        writers: int = WRITERS,
        linger_max_s: float = LINGER_MAX_S,
        window: Window = ledger.WIDE,
    ) -> None:
        """`booking_zone` decides the effective date of transfers that name none, `window` judges others."""
        self._store = store
        self._clock = clock
        self._booking_zone = booking_zone
        self._window = window
        self._coalescer: Coalescer[Call, list[Verdict]] = Coalescer(
            self._book_calls, name="account_posting", workers=writers, linger_max_s=linger_max_s
        )

    async def __aenter__(self) -> Self:
        """Begin to book."""
        await self._coalescer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Book what was accepted, then stop."""
        await self._coalescer.stop()

    async def post_transfers(self, transfers: Sequence[Transfer]) -> list[TransferVerdict]:
        """Book transfers in order. Raises ChainOpen and InvalidText for the whole call."""
        texts.check_items("transfers", transfers)
        ledger.check_chains(transfers)
        verdicts = await self._coalescer.submit(transfers)
        return [verdict for verdict in verdicts if isinstance(verdict, TransferVerdict)]

    async def post_conversions(self, requested: Sequence[Conversion]) -> list[ConversionVerdict]:
        """Convert in order, each wholly or not at all. Raises InvalidText for the whole call."""
        for position, conversion in enumerate(requested):
            texts.check(f"conversions[{position}]", "".join(conversion.texts))
        refusals = [conversions.refusal(conversion) for conversion in requested]
        chains = [
            [] if error else conversions.expand(conversion)
            for conversion, error in zip(requested, refusals, strict=True)
        ]
        verdicts = iter(await self.post_chains(chains))
        return [
            conversions.verdict(conversion, next(verdicts), error)
            for conversion, error in zip(requested, refusals, strict=True)
        ]

    async def post_chains(
        self, chains: Sequence[Sequence[Transfer]]
    ) -> list[list[TransferVerdict]]:
        """Book chains in order, each wholly or not at all; one without transfers has no verdicts."""
        transfers = [transfer for chain in chains for transfer in chain]
        verdicts = iter(await self.post_transfers(transfers) if transfers else ())
        return [[next(verdicts) for _ in chain] for chain in chains]

    async def place_holds(self, holds: Sequence[Hold]) -> list[HoldVerdict]:
        """Set money aside. Raises ChainOpen and InvalidText for the whole call."""
        texts.check_items("holds", holds)
        ledger.check_chains(holds, "holds")
        return await self._handle_holds([PlaceHold(hold=hold) for hold in holds])

    async def capture_holds(
        self, captures: Sequence[CaptureHold | CaptureGroup]
    ) -> list[HoldVerdict]:
        """Turn holds, or groups of them, into transfers; what is left of them is released."""
        texts.check_items("captures", captures)
        return await self._handle_holds(captures)

    async def void_holds(
        self, hold_ids: Sequence[str], group_ids: Sequence[str] = ()
    ) -> list[HoldVerdict]:
        """Release holds, or bar them from ever being placed, and release whole groups."""
        for field, ids in (("hold_ids", hold_ids), ("group_ids", group_ids)):
            for position, name in enumerate(ids):
                texts.check(f"{field}[{position}]", name)
        return await self._handle_holds(
            [
                *(VoidHold(hold_id=hold_id) for hold_id in hold_ids),
                *(VoidGroup(group_id=group_id) for group_id in group_ids),
            ]
        )

    async def expire_holds(self) -> int:
        """Release holds whose time is up, one round of them; returns how many were looked at."""
        due = await self._store.get_due_hold_ids(self._clock.now(), limit=EXPIRED_PER_ROUND_MAX)
        if due:
            await self._coalescer.submit([ExpireHold(hold_id=hold_id) for hold_id in due])
        return len(due)

    async def _handle_holds(self, commands: Sequence[Command]) -> list[HoldVerdict]:
        verdicts = await self._coalescer.submit(commands)
        return [verdict for verdict in verdicts if isinstance(verdict, HoldVerdict)]

    async def _book_calls(self, calls: list[Call]) -> list[list[Verdict] | BaseException]:
        results: list[list[Verdict] | BaseException] = []
        for group in _grouped(calls):
            results += await self._book_group(group)
        return results

    async def _book_group(self, calls: Sequence[Call]) -> Sequence[list[Verdict] | BaseException]:
        try:
            verdicts = iter(await self._book([command for call in calls for command in call]))
        except Exception as error:  # noqa: BLE001 -- whatever it was, it is the callers' to hear
            if len(calls) == 1 or is_connection_lost(error):
                return [error] * len(calls)
            # One call's trouble must not be its neighbours': each gets a transaction of its own.
            return [result for call in calls for result in await self._book_group([call])]
        return [[next(verdicts) for _ in call] for call in calls]

    async def _book(self, commands: Sequence[Command]) -> Sequence[Verdict]:
        needs = batch.needs(commands)
        for _ in range(TRIES_MAX):
            try:
                async with self._store.writing() as writer:
                    book = await writer.load(needs)
                    # Taken under the locks, so that a statement's times ascend with its lines.
                    now = self._clock.now()
                    booking_day = now.astimezone(self._booking_zone).date()
                    decision = ledger.decide(
                        book, commands, now=now, booking_day=booking_day, window=self._window
                    )
                    await writer.save(decision)
                    return decision.verdicts
            except Overtaken:
                continue
        raise errors.LostRace(retry_after_s=0.1)


def _grouped(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Divide calls into transactions, none larger than it should be unless one call alone is."""
    group: list[Call] = []
    size = 0
    for call in calls:
        if group and size + len(call) > COMMANDS_PER_TRANSACTION_MAX:
            yield group
            group, size = [], 0
        group.append(call)
        size += len(call)
    if group:
        yield group
