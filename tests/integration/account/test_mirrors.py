"""The mirror invariant: of each real account, claims + positions = bank + in transit."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from fisc.account.v1 import account_pb2
from fisc.account.v1 import treasury_pb2 as pb
from libs.errors import FiscError
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    OTHER,
    PENDING,
    Ledger,
    account,
    transfer,
)
from tests.integration.account.treasury_support import (
    BOC,
    ICBC,
    map_accounts,
    mapping,
    mirror,
    mirror_accounts,
    mirrors,
    open_real,
    parts,
    real,
)

SECOND_BANK, TRANSIT, OWED, FEES, COSTS = (
    "bank/boc/CNY",
    "x/transit/CNY",
    "channel/c/receivable/CNY",
    "x/fees/CNY",
    "x/costs/CNY",
)


@pytest.fixture
async def banked(ledger: Ledger) -> Ledger:
    """One merchant, what it takes and what it pays on one bank; another merchant on another."""
    await ledger.open(
        account(SECOND_BANK, account_pb2.ACCOUNT_ROLE_BANK_MIRROR),
        account(TRANSIT, account_pb2.ACCOUNT_ROLE_IN_TRANSIT),
        account(OWED, account_pb2.ACCOUNT_ROLE_CHANNEL_RECEIVABLE),
        account(FEES, account_pb2.ACCOUNT_ROLE_FEE_INCOME),
        account(COSTS, account_pb2.ACCOUNT_ROLE_CHANNEL_COST),
    )
    await open_real(ledger, real(ICBC), real(BOC))
    here = (AVAILABLE, PENDING, BANK, OWED, FEES, COSTS)
    there = (OTHER, SECOND_BANK, TRANSIT)
    results = await map_accounts(
        ledger,
        "m1",
        *(mapping(name, ICBC) for name in here),
        *(mapping(name, BOC) for name in there),
    )
    assert all(each.mapped for each in results)
    return ledger


def moments(ledger: Ledger) -> Iterator[datetime]:
    """A minute further each time."""
    while True:
        ledger.clock.advance(60)
        yield ledger.clock.now()


async def test_money_of_one_bank_becomes_that_of_another_when_the_money_itself_goes(
    banked: Ledger,
) -> None:
    steps = (
        (transfer("deposit", BANK, AVAILABLE, 100), (100, 0, 100, 0, 0), (0, 0, 0, 0, 0)),
        # Only the ledger says so: at neither bank has anything moved.
        (transfer("moved", AVAILABLE, OTHER, 30), (70, 0, 100, 0, -30), (30, 0, 0, 0, 30)),
        (transfer("sent", TRANSIT, BANK, 30), (70, 0, 70, 0, 0), (30, 0, 0, 30, 0)),
        (transfer("arrived", SECOND_BANK, TRANSIT, 30), (70, 0, 70, 0, 0), (30, 0, 30, 0, 0)),
    )
    times = moments(banked)
    seen = []
    for booking, _, _ in steps:
        at = next(times)
        assert (await banked.post(booking))[0].booked
        seen.append((at, parts(await mirror(banked, ICBC)), parts(await mirror(banked, BOC))))
    next(times)

    assert [here for _, here, _ in seen] == [wanted for _, wanted, _ in steps]
    assert [there for _, _, there in seen] == [wanted for _, _, wanted in steps]
    for at, here, there in seen:
        past = await mirror(banked, ICBC, at)
        assert (parts(past), past.at.ToDatetime(tzinfo=at.tzinfo)) == (here, at)
        assert parts(await mirror(banked, BOC, at)) == there
    before = await mirror(banked, ICBC, MORNING)
    assert parts(before) == (0, 0, 0, 0, 0)
    assert before.accounts_count == 6


async def test_what_a_channel_owes_is_in_transit_and_costs_lessen_claims(banked: Ledger) -> None:
    await banked.post(
        transfer("collect", OWED, PENDING, 100),
        transfer("net", PENDING, AVAILABLE, 97),
        transfer("fees", PENDING, FEES, 3),
        transfer("cost", COSTS, OWED, 1),
        transfer("paid-out", BANK, OWED, 60),
    )

    found = await mirror(banked, ICBC)

    assert parts(found) == (99, 0, 60, 39, 0)
    assert {
        account_pb2.AccountRole.Name(line.role).removeprefix("ACCOUNT_ROLE_"): (
            pb.MirrorPart.Name(line.part).removeprefix("MIRROR_PART_"),
            line.accounts,
            line.posted_minor,
        )
        for line in found.lines
    } == {
        "MERCHANT_AVAILABLE": ("CLAIM", 1, 97),
        "MERCHANT_PENDING": ("CLAIM", 1, 0),
        "FEE_INCOME": ("CLAIM", 1, 3),
        "CHANNEL_COST": ("CLAIM", 1, 1),
        "BANK_MIRROR": ("BANK", 1, 60),
        "CHANNEL_RECEIVABLE": ("IN_TRANSIT", 1, 39),
    }


async def test_a_mapping_moves_an_account_from_its_day_on_and_not_before(banked: Ledger) -> None:
    """It is 2 March; in the booking zone a day begins at 16:00 UTC."""
    await banked.fund(100)
    last_of_today = datetime(2026, 3, 2, 15, 59, 59, tzinfo=MORNING.tzinfo)
    await map_accounts(banked, "m2", mapping(AVAILABLE, BOC, "2026-03-03"))
    banked.clock.advance((last_of_today - MORNING).total_seconds())

    today = await mirror(banked, BOC)
    banked.clock.advance(1)
    tomorrow = await mirror(banked, BOC)
    looked_back = await mirror(banked, BOC, last_of_today)

    assert [each.claims_minor for each in (today, tomorrow, looked_back)] == [0, 100, 0]
    assert (await mirror(banked, ICBC)).difference_minor == -100


async def test_of_a_past_moment_every_account_shows_its_own_balance(banked: Ledger) -> None:
    """Many entries, booked at few moments, against sums made by hand."""
    rng, times = random.Random(7), moments(banked)
    await banked.fund(10_000)
    wanted: dict[datetime, dict[str, int]] = {}
    posted = {AVAILABLE: 10_000, PENDING: 0, OTHER: 0}
    for round_number in range(12):
        at = next(times)
        for number in range(rng.randint(0, 5)):
            debit, credit = rng.sample([AVAILABLE, PENDING, OTHER], 2)
            amount = rng.randint(1, 50)
            (result,) = await banked.post(
                transfer(f"t{round_number}-{number}", debit, credit, amount)
            )
            if result.booked:
                posted[debit], posted[credit] = posted[debit] - amount, posted[credit] + amount
        wanted[at] = dict(posted)

    for at, balances in wanted.items():
        here = {each.account_id: each for each in await mirror_accounts(banked, ICBC, at)}
        there = {each.account_id: each for each in await mirror_accounts(banked, BOC, at)}
        assert here[AVAILABLE].posted_minor == balances[AVAILABLE]
        assert here[PENDING].posted_minor == balances[PENDING]
        assert there[OTHER].posted_minor == balances[OTHER]
        found = await mirror(banked, ICBC, at)
        assert found.claims_minor == balances[AVAILABLE] + balances[PENDING]
        assert found.difference_minor == -balances[OTHER]


async def test_all_real_accounts_are_compared_and_those_on_none_come_last(banked: Ledger) -> None:
    await banked.open(account("x/loose/CNY", account_pb2.ACCOUNT_ROLE_SUSPENSE))
    await banked.open(account("x/loose/EUR", account_pb2.ACCOUNT_ROLE_SUSPENSE, "EUR"))
    await open_real(banked, real("real/empty"))
    await banked.fund(100)
    await banked.post(transfer("lost", AVAILABLE, "x/loose/CNY", 5))

    found = [
        (each.real_account_id, each.currency, each.claims_minor, each.difference_minor)
        async for each in mirrors(banked)
    ]
    in_the_past = [each.difference_minor async for each in mirrors(banked, MORNING - timedelta(1))]

    assert found == [
        (BOC, "CNY", 0, 0),
        ("real/empty", "CNY", 0, 0),
        (ICBC, "CNY", 95, -5),
        ("", "CNY", 5, 5),
        ("", "EUR", 0, 0),
    ]
    assert in_the_past == [0] * 5


async def test_an_allowance_is_no_money_and_follows_no_mapping_into_a_sum(banked: Ledger) -> None:
    allowance = account("x/limit/CNY", account_pb2.ACCOUNT_ROLE_LIMIT)
    allowance.parent_id = AVAILABLE
    assert (await banked.open(allowance))[0].HasField("account")
    await banked.post(transfer("allowed", FEES, "x/limit/CNY", 40))

    found = await mirror(banked, ICBC)

    assert (found.claims_minor, found.difference_minor) == (-40, -40)


async def test_an_unknown_real_account_is_not_found(banked: Ledger) -> None:
    with pytest.raises(FiscError) as refused:
        await mirror(banked, "nowhere")
    assert refused.value.reason == "REAL_ACCOUNT_NOT_FOUND"
    with pytest.raises(FiscError) as refused:
        await mirror_accounts(banked, "nowhere")
    assert refused.value.reason == "REAL_ACCOUNT_NOT_FOUND"
