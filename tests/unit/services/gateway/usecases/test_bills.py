"""What a bill says of many orders: one that breaks over its line holds up no other, and the bill comes again."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import pytest

from libs.clock import FrozenClock
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.errors import ChannelNotFound
from services.gateway.domain.saga import Answered, Attempt, AttemptState, first_attempt
from services.gateway.usecases.bills import BillLine, Bills, Settled
from tests.unit.services.gateway.domain.orders import NOW

DAY = date(2026, 11, 11)
BROKEN = "pay_broken"


class Store:
    """Attempts by reference, and the bills that were told."""

    def __init__(self, *subject_ids: str) -> None:
        attempts = [first_attempt(each, "PAYMENT", "a", 1, NOW) for each in subject_ids]
        self.attempts = {each.out_ref: each for each in attempts}
        self.bills: set[date] = set()

    async def find_attempt(self, channel_id: str, out_ref: str) -> Attempt | None:
        return self.attempts.get(out_ref)

    async def tell_bill(self, channel_id: str, day: date, now: datetime) -> None:
        self.bills.add(day)

    async def is_bill_told(self, channel_id: str, day: date) -> bool:
        return day in self.bills

    async def unknown_attempts(
        self, channel_id: str, start: datetime, end: datetime
    ) -> list[Attempt]:
        return [each for each in self.attempts.values() if start <= each.sent_at < end]


class Registry:
    """One channel."""

    async def get_channel(self, channel_id: str) -> Any:
        class Stored:
            class account:  # noqa: N801 - stands for an attribute
                zone = "Asia/Shanghai"

        return Stored if channel_id == "a" else None


class House:
    """Bills over a store, and what the flows were told."""

    def __init__(self, *subject_ids: str, error: Exception | None = None) -> None:
        self.store = Store(*subject_ids)
        self.told: list[tuple[str, OutcomeKind]] = []
        self.error = error or RuntimeError("a row that a later release wrote")
        self.bills = Bills(
            registry=cast(Any, Registry()),
            store=cast(Any, self.store),
            tellers={"payment": self.tell},
            clock=FrozenClock(NOW),
        )

    async def tell(self, subject_id: str, signal: Answered) -> None:
        if subject_id == BROKEN:
            raise self.error
        self.told.append((subject_id, signal.outcome.kind))

    async def settle(self, *out_refs: str, day: date = DAY) -> Settled:
        lines = [
            BillLine(
                out_ref=out_ref,
                amount_minor=1_000,
                currency="CNY",
                provider_ref="",
                paid_at=None,
                is_return=False,
            )
            for out_ref in out_refs
        ]
        return await self.bills.settle("a", day, lines, is_complete=True)


async def test_an_order_that_breaks_over_its_line_holds_up_no_other() -> None:
    house = House(BROKEN, "pay_1", "pay_2")

    settled = await house.settle(*house.store.attempts, "p9")

    paid = OutcomeKind.SUCCEEDED
    assert house.told == [("pay_1", paid), ("pay_2", paid)]
    assert settled == Settled(settled_count=2, unknown_count=1, failed_count=1)


async def test_nothing_is_settled_by_the_absence_of_a_line_until_the_whole_bill_was_told() -> None:
    house = House(BROKEN, "pay_absent")
    house.store.bills = {DAY + timedelta(days=days) for days in (-2, -1, 1, 2)}
    broken_ref, _ = house.store.attempts

    failed = await house.settle(broken_ref)
    assert (failed.failed_count, failed.absent_count, house.told) == (1, 0, [])
    assert DAY not in house.store.bills

    # Somebody has mended the order: the same bill again completes what it left.
    house.store.attempts[broken_ref] = Attempt(
        attempt_id="att_1", subject_id="pay_mended", number=1, operation="PAYMENT", channel_id="a",
        out_ref=broken_ref, state=AttemptState.UNKNOWN, sent_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    settled = await house.settle(broken_ref)
    assert settled == Settled(settled_count=1, absent_count=1)
    assert house.told == [
        ("pay_mended", OutcomeKind.SUCCEEDED),
        ("pay_absent", OutcomeKind.CLOSED),
    ]
    assert DAY in house.store.bills


async def test_an_order_that_breaks_over_its_absence_holds_up_no_other() -> None:
    house = House(BROKEN, "pay_absent")
    house.store.bills = {DAY + timedelta(days=days) for days in range(-4, 3)}

    settled = await house.settle()

    assert (settled.absent_count, house.told) == (1, [("pay_absent", OutcomeKind.CLOSED)])


@pytest.mark.parametrize(("untold", "absent_count"), [(-1, 1), (0, 0), (1, 0)])
async def test_an_absence_says_nothing_while_a_bill_that_may_name_the_order_is_untold(
    untold: int, absent_count: int
) -> None:
    house = House("pay_absent")
    house.store.bills = {DAY + timedelta(days=days) for days in {-1, 0, 1} - {untold}}

    # What was ordered on one day may stand in that day's bill or in one of the next two.
    settled = await house.settle(day=DAY + timedelta(days=2))

    assert settled.absent_count == absent_count


async def test_a_lost_database_is_no_orders_fault() -> None:
    house = House(BROKEN, "pay_1", error=ConnectionResetError())

    with pytest.raises(ConnectionResetError):
        await house.settle(*house.store.attempts)
    assert house.told == []


async def test_whoever_asks_for_it_may_stop_it() -> None:
    house = House(BROKEN)
    house.error = cast(Any, asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        await house.settle(*house.store.attempts)


async def test_a_bill_of_a_channel_that_is_none_is_refused() -> None:
    with pytest.raises(ChannelNotFound):
        await House().bills.settle("b", DAY, [], is_complete=True)
