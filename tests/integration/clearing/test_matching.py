"""Matching in the database finds what its specification finds."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from libs.db.pool import Connection, Pool, open_pool
from services.clearing.domain import matching
from services.clearing.domain.bills.model import BillLine
from services.clearing.domain.model import MatchState, Statement, StatementState
from services.clearing.store import differences, items, statements
from tests.unit.services.clearing.books import DAY, random_book

NOW = datetime(2026, 3, 3, 2, tzinfo=UTC)
BOOKS = 40


async def test_the_database_and_the_specification_agree_on_random_books(
    fresh_database: Callable[[str], Awaitable[str]],
) -> None:
    async with await open_pool(
        await fresh_database("clearing"), size=2, application_name="test"
    ) as pool:
        for seed in range(BOOKS):
            rng = random.Random(seed)
            await _agree_on(pool, f"channel-{seed}", rng)


async def _agree_on(pool: Pool, channel_id: str, rng: random.Random) -> None:
    book = random_book(rng)
    ours = [
        replace(item, channel_id=channel_id, subject_id=f"{channel_id}-{item.subject_id}")
        for item in book.items
    ]
    expected = matching.match(ours, book.lines)
    async with pool.acquire() as connection, connection.transaction():
        await items.insert_items(connection, ours)
        await _accept(connection, channel_id, book.lines)
        found = await differences.match_day(connection, channel_id, DAY)
        listed = await items.list_items(connection, day=DAY, merchant_id="", after="", limit=9_999)

    assert found is not None
    assert frozenset(found) == expected.findings
    assert {(each.item_kind, each.out_ref): each.kind for each in found} == book.planted
    mine = [item for item in listed if item.channel_id == channel_id]
    assert {
        item.subject_id for item in mine if item.match_state is MatchState.MATCHED
    } == expected.matched
    assert all(item.match_state is not MatchState.UNMATCHED for item in mine)


async def _accept(connection: Connection, channel_id: str, lines: Sequence[BillLine]) -> None:
    statement = Statement(
        statement_id=f"stm_{channel_id}",
        channel_id=channel_id,
        business_date=DAY,
        sha256="",
        size_bytes=0,
        state=StatementState.FETCHED,
        reason="",
        lines_count=len(lines),
        fetched_at=NOW,
    )
    statement_id, is_new = await statements.insert_statement(
        connection, statement, provider="simpay", checked_hash="", content=b""
    )
    assert is_new
    await statements.insert_lines(connection, statement_id, lines)
