"""What a channel's bill says of orders that nobody knew the end of: the last word, when the channel itself has given none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from libs.clock import Clock
from libs.db.errors import is_connection_lost
from libs.log import get_logger
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import ChannelNotFound
from services.gateway.domain.saga import Answered, Attempt, AttemptState
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore
from services.gateway.usecases.callbacks import Teller

# Codes of attempts that a bill has settled, for people.
IN_BILL = "IN_BILL"
ABSENT_FROM_BILL = "ABSENT_FROM_BILL"
# A payer has at most a day to pay, and a business day may turn before midnight: what was ordered on one day is in that day's
# bill or in one of the next two, or was never charged.
_BILLS_OF_AN_ORDER = 3
# Refunds and payouts may take a channel days, so that no bill's silence says anything of them.
_SETTLED_BY_ABSENCE = frozenset({"PAYMENT", "CAPTURE"})
# What a line of a return, and any other line, says nothing new of.
_RETURNED = frozenset({AttemptState.RETURNED})
_SUCCEEDED = frozenset({AttemptState.SUCCEEDED, AttemptState.RETURNED})

_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One order that a bill names and clearing has no item for."""

    out_ref: str
    amount_minor: int
    currency: str
    provider_ref: str
    paid_at: datetime | None
    is_return: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a bill came to."""

    settled_count: int = 0
    absent_count: int = 0
    unknown_count: int = 0
    failed_count: int = 0
    """Orders that could not be told; the bill counts as untold until it comes again without any."""


class Bills:
    """Tells sagas what bills say of them."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: SagaStore,
        tellers: Mapping[str, Teller],
        clock: Clock,
    ) -> None:
        """`tellers` by an attempt's operation, in lower case."""
        self._registry = registry
        self._store = store
        self._tellers = tellers
        self._clock = clock

    async def settle(
        self, channel_id: str, day: date, lines: Sequence[BillLine], *, is_complete: bool
    ) -> Settled:
        """Idempotent. Raises ChannelNotFound."""
        zone = await self._zone(channel_id)
        settled_count = unknown_count = failed_count = absent_count = 0
        for line in lines:
            attempt = await self._store.find_attempt(channel_id, line.out_ref)
            if attempt is None:
                unknown_count += 1
            elif not await self._is_told(attempt, _outcome(line)):
                failed_count += 1
            else:
                settled_count += attempt.state not in (_RETURNED if line.is_return else _SUCCEEDED)
        if is_complete and not failed_count:
            await self._store.tell_bill(channel_id, day, self._clock.now())
            absent_count = await self._settle_absent(channel_id, day, zone)
        return Settled(
            settled_count=settled_count,
            absent_count=absent_count,
            unknown_count=unknown_count,
            failed_count=failed_count,
        )

    async def _settle_absent(self, channel_id: str, day: date, zone: ZoneInfo) -> int:
        """Whatever this bill may be the last one to name: orders of its own day and the two before."""
        count = 0
        for back in range(_BILLS_OF_AN_ORDER):
            ordered_on = day - timedelta(days=back)
            if await self._all_told(channel_id, ordered_on):
                start = datetime.combine(ordered_on, time(), zone)
                end = datetime.combine(ordered_on + timedelta(days=1), time(), zone)
                for attempt in await self._store.unknown_attempts(channel_id, start, end):
                    if attempt.operation in _SETTLED_BY_ABSENCE:
                        absent = Outcome(kind=OutcomeKind.CLOSED, code=ABSENT_FROM_BILL)
                        count += await self._is_told(attempt, absent)
        return count

    async def _all_told(self, channel_id: str, ordered_on: date) -> bool:
        for days in range(_BILLS_OF_AN_ORDER):
            if not await self._store.is_bill_told(channel_id, ordered_on + timedelta(days=days)):
                return False
        return True

    async def _is_told(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Whether its flow has taken it in; one that breaks over it must not hold up all the others."""
        signal = Answered(outcome=outcome, attempt_number=attempt.number, attempt=attempt)
        try:
            await self._tellers[attempt.operation.lower()](attempt.subject_id, signal)
        except Exception as error:
            if is_connection_lost(error):
                raise
            _log.exception("bill not told", out_ref=attempt.out_ref, subject_id=attempt.subject_id)
            return False
        return True

    async def _zone(self, channel_id: str) -> ZoneInfo:
        stored = await self._registry.get_channel(channel_id)
        if stored is None:
            raise ChannelNotFound(field="channel_id", channel_id=channel_id)
        return ZoneInfo(stored.account.zone)


def _outcome(line: BillLine) -> Outcome:
    return Outcome(
        kind=OutcomeKind.RETURNED if line.is_return else OutcomeKind.SUCCEEDED,
        code=IN_BILL,
        provider_ref=line.provider_ref,
        paid_at=line.paid_at,
        amount_minor=line.amount_minor,
        currency=line.currency,
    )
