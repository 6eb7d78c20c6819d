"""Real accounts, and which virtual account stands on which since when."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from fisc.account.v1 import account_pb2
from fisc.account.v1 import treasury_pb2 as pb
from libs.errors import FiscError
from libs.rpc import client
from tests.integration.account.support import AVAILABLE, BANK, TIMEOUT_S, Ledger, account
from tests.integration.account.treasury_support import (
    BOC,
    ICBC,
    change_real,
    map_accounts,
    mapping,
    mirror_accounts,
    open_real,
    real,
)

NUMBER = "6222021234567894321"


@pytest.fixture
async def banked(ledger: Ledger) -> Ledger:
    """A ledger with two real accounts."""
    results = await open_real(ledger, real(ICBC), real(BOC))
    assert all(each.HasField("real_account") for each in results)
    return ledger


async def mappings(ledger: Ledger, **asked: str) -> Sequence[pb.Mapping]:
    """Every page, of one each."""
    found: list[pb.Mapping] = []
    request = pb.ListMappingsRequest(page_size=1, **asked)
    while True:
        answer = await client.call(ledger.treasury.ListMappings, request, timeout_s=TIMEOUT_S)
        found += answer.mappings
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


async def test_of_an_account_number_only_the_end_and_a_hash_are_kept(ledger: Ledger) -> None:
    (made,) = await open_real(ledger, real(ICBC, NUMBER))
    (again,) = await open_real(ledger, real(ICBC, NUMBER))

    assert made.real_account.masked_number == "********4321"
    assert made.real_account.account_number == ""
    assert again.real_account == made.real_account
    assert made.real_account.state == pb.REAL_ACCOUNT_STATE_OPEN
    row = await ledger.pool.fetchval("SELECT real_account::text FROM real_account")
    assert NUMBER not in row
    assert NUMBER[:-4] not in row


@pytest.mark.parametrize(
    ("other", "reason", "field"),
    [
        (real(ICBC, "1234567"), "REAL_ACCOUNT_EXISTS_DIFFERENTLY", "account_number"),
        (real(ICBC, NUMBER, holder="X"), "REAL_ACCOUNT_EXISTS_DIFFERENTLY", "holder"),
        (real(BOC, NUMBER), "ACCOUNT_NUMBER_TAKEN", "account_number"),
        (real(BOC, currency="ZZZ"), "UNKNOWN_CURRENCY", "currency"),
    ],
)
async def test_a_real_account_that_cannot_be_is_refused_alone(
    ledger: Ledger, other: pb.RealAccount, reason: str, field: str
) -> None:
    await open_real(ledger, real(ICBC, NUMBER))

    refused, fine = await open_real(ledger, other, real("real/ccb"))

    assert (refused.error.reason, refused.error.field) == (reason, field)
    assert fine.real_account.real_account_id == "real/ccb"


async def test_a_real_account_without_a_number_is_refused(ledger: Ledger) -> None:
    nameless = real(ICBC)
    nameless.account_number = ""
    with pytest.raises(FiscError) as refused:
        await open_real(ledger, nameless)
    assert refused.value.reason == "ACCOUNT_NUMBER_REQUIRED"


async def test_real_accounts_are_listed_in_pages(banked: Ledger) -> None:
    request = pb.ListRealAccountsRequest(page_size=1)
    first = await client.call(banked.treasury.ListRealAccounts, request, timeout_s=TIMEOUT_S)
    request.page_token = first.next_page_token
    second = await client.call(banked.treasury.ListRealAccounts, request, timeout_s=TIMEOUT_S)

    found = [*first.real_accounts, *second.real_accounts]
    assert [each.real_account_id for each in found] == [BOC, ICBC]
    assert second.next_page_token == ""


async def test_each_mapping_ends_where_the_next_begins_and_the_last_word_of_a_day_counts(
    banked: Ledger,
) -> None:
    await map_accounts(banked, "m1", mapping(AVAILABLE, ICBC, "2026-01-01"))
    await map_accounts(banked, "m2", mapping(AVAILABLE, "", "2026-03-01"))
    await map_accounts(banked, "m3", mapping(AVAILABLE, BOC, "2026-02-01"))
    await map_accounts(banked, "m4", mapping(AVAILABLE, ICBC, "2026-02-01"))

    said = await mappings(banked, account_id=AVAILABLE)

    assert [
        (each.valid_from, each.valid_until, each.real_account_id, each.replaced, each.request_id)
        for each in said
    ] == [
        ("2026-01-01", "2026-02-01", ICBC, False, "m1"),
        ("2026-02-01", "", BOC, True, "m3"),
        ("2026-02-01", "2026-03-01", ICBC, False, "m4"),
        ("2026-03-01", "", "", False, "m2"),
    ]
    assert [each.request_id for each in await mappings(banked, real_account_id=BOC)] == ["m3"]


async def test_a_mapping_takes_effect_once_by_request_and_account(banked: Ledger) -> None:
    asked = mapping(AVAILABLE, ICBC)
    (first,) = await map_accounts(banked, "m1", asked)
    (again,) = await map_accounts(banked, "m1", asked)
    (other,) = await map_accounts(banked, "m1", mapping(AVAILABLE, BOC))

    assert (first.mapped, first.replayed) == (True, False)
    assert (again.mapped, again.replayed) == (True, True)
    assert (other.error.reason, other.error.field) == ("REQUEST_ID_REUSED", "real_account_id")
    assert len(await mappings(banked, account_id=AVAILABLE)) == 1


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (mapping("nobody", ICBC), "ACCOUNT_NOT_FOUND", "account_id"),
        (mapping(AVAILABLE, "nowhere"), "REAL_ACCOUNT_NOT_FOUND", "real_account_id"),
        (mapping(AVAILABLE, "real/closed"), "REAL_ACCOUNT_CLOSED", "real_account_id"),
        (mapping("x/m/available/EUR", ICBC), "CURRENCY_MISMATCH", "real_account_id"),
        (mapping("t/m/available/CNY", ICBC), "BOOK_MISMATCH", "real_account_id"),
        (mapping("x/limit/CNY", ICBC), "ACCOUNT_NOT_MAPPABLE", "account_id"),
        (mapping(AVAILABLE, ICBC, "2026-02-30"), "INVALID_DATE", "valid_from"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_a_mapping_that_cannot_be_is_refused_alone(
    banked: Ledger, bad: pb.Mapping, reason: str, field: str
) -> None:
    theirs = account("t/m/available/CNY", account_pb2.ACCOUNT_ROLE_MERCHANT_AVAILABLE)
    theirs.tenant_id = "t"
    await banked.open(
        account("x/m/available/EUR", account_pb2.ACCOUNT_ROLE_MERCHANT_AVAILABLE, "EUR"),
        account("x/limit/CNY", account_pb2.ACCOUNT_ROLE_LIMIT),
        theirs,
    )
    await open_real(banked, real("real/closed"))
    await change_real(banked, "c1", "real/closed", pb.REAL_ACCOUNT_STATE_CLOSED)

    refused, fine = await map_accounts(banked, "m1", bad, mapping(BANK, ICBC))

    assert (refused.error.reason, refused.error.field) == (reason, field)
    assert fine.mapped


async def test_only_a_real_account_that_no_mapping_names_from_today_on_is_closed(
    banked: Ledger,
) -> None:
    """The day is 2 March; what named it before and names it no more does not count."""
    closed, opened = pb.REAL_ACCOUNT_STATE_CLOSED, pb.REAL_ACCOUNT_STATE_OPEN
    await map_accounts(banked, "m1", mapping(AVAILABLE, ICBC), mapping(BANK, BOC, "2026-04-01"))
    today = await change_real(banked, "c1", ICBC, closed)
    later = await change_real(banked, "c2", BOC, closed)

    await map_accounts(banked, "m2", mapping(AVAILABLE, "", "2026-03-02"))
    await map_accounts(banked, "m3", mapping(BANK, "", "2026-04-01"))
    done = [
        await change_real(banked, "c3", ICBC, closed),
        await change_real(banked, "c4", BOC, closed),
    ]
    again = await change_real(banked, "c3", ICBC, closed)
    other = await change_real(banked, "c3", ICBC, opened)
    reopened = await change_real(banked, "c5", ICBC, opened)
    unknown = await change_real(banked, "c6", "nowhere", closed)

    assert (today.error.reason, today.error.metadata["account_id"]) == (
        "REAL_ACCOUNT_IN_USE",
        AVAILABLE,
    )
    assert later.error.reason == "REAL_ACCOUNT_IN_USE"
    assert [(each.changed, each.state) for each in done] == [(True, closed)] * 2
    assert again.replayed
    assert (other.error.reason, other.error.field) == ("REQUEST_ID_REUSED", "state")
    assert (reopened.changed, reopened.state) == (True, opened)
    assert unknown.error.reason == "REAL_ACCOUNT_NOT_FOUND"


async def test_an_account_follows_its_nearest_mapped_ancestor(banked: Ledger) -> None:
    role = account_pb2.ACCOUNT_ROLE_MERCHANT_AVAILABLE
    tree = ("g/1", "g/1/m", "g/1/m/brand", "g/1/m/brand/available", "g/1/n")
    for name in tree:
        made = account(name, role)
        made.parent_id = name.rpartition("/")[0] if name != "g/1" else ""
        assert (await banked.open(made))[0].HasField("account")
    await map_accounts(banked, "m1", mapping("g/1", ICBC), mapping("g/1/m", BOC))
    await map_accounts(banked, "m2", mapping("g/1/m", "", "2026-03-02"))

    def names(found: list[pb.MirrorAccount]) -> list[tuple[str, str]]:
        return [(each.account_id, each.mapped_by_account_id) for each in found]

    yesterday = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert names(await mirror_accounts(banked, ICBC, yesterday)) == [
        ("g/1", "g/1"),
        ("g/1/n", "g/1"),
    ]
    assert names(await mirror_accounts(banked, BOC, yesterday, page_size=1)) == [
        ("g/1/m", "g/1/m"),
        ("g/1/m/brand", "g/1/m"),
        ("g/1/m/brand/available", "g/1/m"),
    ]
    assert names(await mirror_accounts(banked, ICBC)) == [(name, "g/1") for name in sorted(tree)]
    assert await mirror_accounts(banked, BOC) == []
    on_none = [each.account_id for each in await mirror_accounts(banked, "")]
    assert AVAILABLE in on_none
    assert not set(tree) & set(on_none)


async def test_many_at_once_say_different_things_of_one_account_and_all_is_kept(
    banked: Ledger,
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(map_accounts(banked, f"m{n}", mapping(AVAILABLE, (ICBC, BOC)[n % 2])))
            for n in range(5)
        ]

    assert all(task.result()[0].mapped for task in tasks)
    said = await mappings(banked, account_id=AVAILABLE)
    assert [each.revision for each in said] == list(range(5))
    assert [each.replaced for each in said] == [True] * 4 + [False]


async def test_what_was_said_cannot_be_changed_or_removed(banked: Ledger) -> None:
    await map_accounts(banked, "m1", mapping(AVAILABLE, ICBC))
    await change_real(banked, "c1", BOC, pb.REAL_ACCOUNT_STATE_CLOSED)
    for statement in (
        "UPDATE account_mapping SET valid_from = '2026-01-02'",
        "DELETE FROM account_mapping",
        "UPDATE real_account_change SET reason = 'other'",
        "DELETE FROM real_account_change",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await banked.pool.execute(statement)
