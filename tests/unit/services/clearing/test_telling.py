"""A bill counts as told once the gateway has taken in every line of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any, cast

import pytest

from libs.clock import FrozenClock
from services.clearing.domain.bills.model import BillLine
from services.clearing.domain.model import Told
from services.clearing.usecases import telling
from services.clearing.usecases.telling import Telling
from tests.unit.services.clearing.books import DAY, NOON, line_of, make_item


class Statements:
    """Lines without an item, and the days that were told."""

    def __init__(self, lines_count: int) -> None:
        self.lines = [
            line_of(make_item(number), line_number=number) for number in range(1, lines_count + 1)
        ]
        self.told_days: list[date] = []

    async def unexplained_lines(
        self,
        connection: object,
        channel_id: str,
        day: date,
        *,
        drift_days: int,
        after_line: int,
        limit: int,
    ) -> list[BillLine]:
        return [each for each in self.lines if each.line_number > after_line][:limit]

    async def mark_told(
        self, connection: object, channel_id: str, day: date, now: datetime
    ) -> None:
        self.told_days.append(day)


class Pool:
    """Nothing to connect to."""

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        yield


class Gateway:
    """Takes in every line but the broken ones."""

    def __init__(self, *broken: int) -> None:
        self.broken = set(broken)
        self.calls: list[tuple[list[int], bool]] = []

    async def settle(
        self, channel_id: str, day: date, lines: Sequence[BillLine], *, is_complete: bool
    ) -> Told:
        numbers = [each.line_number for each in lines]
        self.calls.append((numbers, is_complete))
        failed_count = len(self.broken.intersection(numbers))
        return Told(
            lines_count=len(lines),
            settled_count=len(lines) - failed_count,
            failed_count=failed_count,
        )


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Statements:
    statements = Statements(lines_count=5)
    monkeypatch.setattr(telling, "store", statements)
    monkeypatch.setattr(telling, "LINES_PER_CALL_MAX", 2)
    return statements


async def tell(gateway: Gateway) -> Told:
    teller = Telling(cast(Any, Pool()), cast(Any, gateway), FrozenClock(NOON))
    return await teller.tell("sim-a", DAY)


async def test_a_bill_whose_every_line_was_taken_in_is_told(statements: Statements) -> None:
    gateway = Gateway()

    told = await tell(gateway)

    assert gateway.calls == [([1, 2], False), ([3, 4], False), ([5], True)]
    assert (told.lines_count, told.settled_count, told.failed_count) == (5, 5, 0)
    assert statements.told_days == [DAY]


@pytest.mark.parametrize("broken", [1, 4])
async def test_a_line_that_could_not_be_told_leaves_the_bill_incomplete_and_the_rest_told(
    statements: Statements, broken: int
) -> None:
    gateway = Gateway(broken)

    told = await tell(gateway)

    # Nothing may be settled by the absence of a line from a bill of which one is missing.
    assert gateway.calls == [([1, 2], False), ([3, 4], False), ([5], False)]
    assert (told.settled_count, told.failed_count) == (4, 1)
    assert statements.told_days == []


async def test_a_line_of_the_last_call_that_could_not_be_told_leaves_the_day_untold(
    statements: Statements,
) -> None:
    gateway = Gateway(5)

    assert (await tell(gateway)).failed_count == 1
    assert statements.told_days == []

    gateway.broken.clear()
    assert (await tell(gateway)).failed_count == 0
    assert statements.told_days == [DAY]
