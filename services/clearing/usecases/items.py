"""Facts become clearing items, each once, with the fee decided when the item is made."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo

from libs import log
from libs.db.pool import Connection, Pool
from libs.paging import Page, PageRequest
from services.clearing.domain import days, fees
from services.clearing.domain.fees import PaidFee
from services.clearing.domain.model import Channel, FeePlan, Item, ItemKind, Succeeded
from services.clearing.store import items as store
from services.clearing.usecases.ports import Channels

# The day of a channel that the router has not told of: the calendar day in China.
DEFAULT_ZONE: Final = ZoneInfo("Asia/Shanghai")
DEFAULT_CUT_OFF: Final = time(0, 0)

_log = log.get_logger()


class ChannelsUnknown(Exception):
    """These channels have to be learnt before their facts can be dated."""

    def __init__(self, channel_ids: Collection[str]) -> None:
        super().__init__(", ".join(sorted(channel_ids)))
        self.channel_ids = channel_ids


class Items:
    """Keeps items, and the channels' days by which they are dated."""

    def __init__(self, pool: Pool, channels: Channels, default_plan: FeePlan) -> None:
        """The default plan holds for merchants and days that have none."""
        self._pool = pool
        self._channels = channels
        self._default_plan = default_plan
        self._never_heard_of: set[str] = set()

    async def learn_channels(self, channel_ids: Collection[str]) -> None:
        """Ask the router about these; what it does not know either gets the default day from now on. Raises FiscError."""
        await self.refresh_channels()
        async with self._pool.acquire() as connection:
            known = await store.channels(connection, channel_ids)
        self._never_heard_of |= set(channel_ids) - known.keys()

    async def refresh_channels(self) -> int:
        """Ask the router for its channels; how many there are. Raises FiscError."""
        channels = await self._channels.list_channels()
        async with self._pool.acquire() as connection:
            await store.put_channels(connection, channels)
        return len(channels)

    async def record(self, connection: Connection, facts: Sequence[Succeeded]) -> int:
        """Make items of new facts in the caller's transaction, in order; how many were new.

        Raises ChannelsUnknown: a fact is dated by its channel's day, so the channel must be learnt first.
        """
        by_subject = {fact.subject_id: fact for fact in facts}
        known = await store.known_subjects(connection, by_subject)
        fresh = [fact for subject_id, fact in by_subject.items() if subject_id not in known]
        if not fresh:
            return 0
        channels = await store.channels(connection, {fact.channel_id for fact in fresh})
        unknown = {fact.channel_id for fact in fresh} - channels.keys() - self._never_heard_of
        if unknown:
            raise ChannelsUnknown(unknown)
        plans = await store.plans_of(connection, {fact.merchant_id for fact in fresh})
        refunded = {
            fact.payment_id for fact in fresh if fact.kind is ItemKind.REFUND and fact.settles
        }
        paid = await store.paid_fees(connection, refunded)
        items = self._items(fresh, channels, plans, paid)
        await store.insert_items(connection, items)
        return len(items)

    async def list_items(self, day: date | None, merchant_id: str, page: PageRequest) -> Page[Item]:
        """Items by id. Raises InvalidPageToken."""
        async with self._pool.acquire() as connection:
            found = await store.list_items(
                connection, day=day, merchant_id=merchant_id, after=page.after, limit=page.limit
            )
        return page.page(found, lambda item: item.subject_id)

    def _items(
        self,
        facts: Iterable[Succeeded],
        channels: Mapping[str, Channel],
        plans: Sequence[FeePlan],
        paid: dict[str, PaidFee],
    ) -> list[Item]:
        """Items of facts in order; `paid` learns of each payment and refund on the way."""
        items = []
        for fact in facts:
            day = _business_date(fact, channels.get(fact.channel_id))
            plan = fees.plan_on(plans, fact.merchant_id, day, self._default_plan)
            fee_minor = _fee(fact, plan, paid)
            if fact.settles:
                _note(fact, plan, fee_minor, paid)
            items.append(_item(fact, day, plan, fee_minor))
        return items


def _note(fact: Succeeded, plan: FeePlan, fee_minor: int, paid: dict[str, PaidFee]) -> None:
    """What later refunds among the same facts must know of this one."""
    known = paid.get(fact.payment_id)
    if fact.kind is ItemKind.PAYMENT and known is not None:
        paid[fact.payment_id] = known.captured(fact.amount_minor, fee_minor)
    elif fact.kind is ItemKind.PAYMENT:
        paid[fact.payment_id] = PaidFee(
            amount_minor=fact.amount_minor,
            fee_minor=fee_minor,
            fee_refundable=plan.fee_refundable,
        )
    elif fact.kind is ItemKind.REFUND and known is not None:
        paid[fact.payment_id] = known.refunded(fact.amount_minor)


def _fee(fact: Succeeded, plan: FeePlan, paid: Mapping[str, PaidFee]) -> int:
    match fact.kind:
        case _ if not fact.settles:
            return 0
        case ItemKind.PAYMENT:
            return fees.payment_fee(plan, fact.amount_minor)
        case ItemKind.PAYOUT:
            return plan.payout_fixed_minor
        case ItemKind.PAYOUT_RETURN:
            # The payout was carried out; its fee stays paid.
            return 0
        case ItemKind.REFUND:
            payment = paid.get(fact.payment_id)
            if payment is None:
                _log.warning("refund of a payment that is no item", subject_id=fact.subject_id)
                return 0
            return fees.refund_fee(payment, fact.amount_minor)


def _business_date(fact: Succeeded, channel: Channel | None) -> date:
    if channel is None:
        _log.warning(
            "channel unknown, calendar day of China assumed",
            channel_id=fact.channel_id,
            subject_id=fact.subject_id,
        )
        return days.business_date(fact.succeeded_at, DEFAULT_ZONE, DEFAULT_CUT_OFF)
    return days.business_date(fact.succeeded_at, channel.zone, channel.cut_off)


def _item(fact: Succeeded, day: date, plan: FeePlan, fee_minor: int) -> Item:
    return Item(
        subject_id=fact.subject_id,
        kind=fact.kind,
        merchant_id=fact.merchant_id,
        channel_id=fact.channel_id,
        out_ref=fact.out_ref,
        provider_ref=fact.provider_ref,
        currency=fact.currency,
        amount_minor=fact.amount_minor,
        payment_id=fact.payment_id,
        merchant_fee_minor=fee_minor,
        fee_refundable=plan.fee_refundable,
        plan_ref=plan.plan_id,
        business_date=day,
        occurred_at=fact.succeeded_at,
        settles=fact.settles,
    )
