"""What companies of a group owe one another, in the books of both; and money in transit."""

from collections.abc import Sequence

import pytest

from fisc.account.v1 import account_pb2
from fisc.account.v1 import treasury_pb2 as pb
from libs.rpc import client
from services.account.store.positions import PositionStore
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    OTHER,
    TIMEOUT_S,
    Ledger,
    account,
    cny,
    transfer,
)
from tests.integration.account.treasury_support import (
    BOC,
    ICBC,
    map_accounts,
    mapping,
    mirror,
    open_real,
    parts,
    position_account,
    real,
)

# m owes n, and n owes m: by the creditor's books, and by the debtor's.
N_FROM_M, M_TO_N = "due/n/from-m/CNY", "due/m/to-n/CNY"
M_FROM_N, N_TO_M = "due/m/from-n/CNY", "due/n/to-m/CNY"
SECOND_BANK, TRANSIT = "bank/boc/CNY", "x/transit/CNY"


@pytest.fixture
async def group(ledger: Ledger) -> Ledger:
    """Two companies, each with its own bank: m has 100, n has 50."""
    due_from, due_to = account_pb2.ACCOUNT_ROLE_DUE_FROM, account_pb2.ACCOUNT_ROLE_DUE_TO
    opened = await ledger.open(
        position_account(N_FROM_M, due_from, "n", "m"),
        position_account(M_TO_N, due_to, "m", "n"),
        position_account(M_FROM_N, due_from, "m", "n"),
        position_account(N_TO_M, due_to, "n", "m"),
        account(SECOND_BANK, account_pb2.ACCOUNT_ROLE_BANK_MIRROR),
        account(TRANSIT, account_pb2.ACCOUNT_ROLE_IN_TRANSIT),
    )
    assert all(each.HasField("account") for each in opened)
    await open_real(ledger, real(ICBC), real(BOC))
    await map_accounts(
        ledger,
        "m1",
        *(mapping(name, ICBC) for name in (AVAILABLE, BANK, M_TO_N, M_FROM_N)),
        *(mapping(name, BOC) for name in (OTHER, SECOND_BANK, N_FROM_M, N_TO_M, TRANSIT)),
    )
    await ledger.post(
        transfer("m-funds", BANK, AVAILABLE, 100), transfer("n-funds", SECOND_BANK, OTHER, 50)
    )
    return ledger


def intercompany(name: str, amount_minor: int, **other: object) -> pb.IntercompanyTransfer:
    """m's money becomes n's without a bank: m owes it to n."""
    made = pb.IntercompanyTransfer(
        intercompany_id=name,
        kind=pb.INTERCOMPANY_KIND_RAISE,
        due_from_account_id=N_FROM_M,
        due_to_account_id=M_TO_N,
        creditor_account_id=OTHER,
        debtor_account_id=AVAILABLE,
        amount=cny(amount_minor),
        reference="loan_1",
    )
    made.MergeFrom(pb.IntercompanyTransfer(**other))  # type: ignore[arg-type]  # rows of a table
    return made


def settled(name: str, amount_minor: int, **other: object) -> pb.IntercompanyTransfer:
    """m pays n through their banks."""
    banks = {"creditor_account_id": SECOND_BANK, "debtor_account_id": BANK}
    kind = pb.INTERCOMPANY_KIND_SETTLE
    return intercompany(name, amount_minor, **{**banks, "kind": kind, **other})


def the_other_way(name: str, amount_minor: int) -> pb.IntercompanyTransfer:
    """n's money becomes m's: n owes it to m."""
    return intercompany(
        name,
        amount_minor,
        due_from_account_id=M_FROM_N,
        due_to_account_id=N_TO_M,
        creditor_account_id=AVAILABLE,
        debtor_account_id=OTHER,
    )


async def post(
    ledger: Ledger, *transfers: pb.IntercompanyTransfer
) -> Sequence[pb.IntercompanyResult]:
    request = pb.PostIntercompanyTransfersRequest(request_id="r", transfers=transfers)
    answer = await client.call(
        ledger.treasury.PostIntercompanyTransfers, request, timeout_s=TIMEOUT_S
    )
    return answer.results


async def positions(ledger: Ledger, **asked: object) -> list[tuple[str, str, int, int, int]]:
    """Creditor, debtor, both sides and the difference; every page, of one each."""
    found: list[tuple[str, str, int, int, int]] = []
    request = pb.ListPositionsRequest(page_size=1, **asked)  # type: ignore[arg-type]  # rows of a table
    while True:
        answer = await client.call(ledger.treasury.ListPositions, request, timeout_s=TIMEOUT_S)
        found += [
            (
                each.creditor_id,
                each.debtor_id,
                each.due_from_minor,
                each.due_to_minor,
                each.difference_minor,
            )
            for each in answer.positions
        ]
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


async def both(ledger: Ledger) -> tuple[object, object]:
    return parts(await mirror(ledger, ICBC)), parts(await mirror(ledger, BOC))


async def test_a_position_keeps_both_mirrors_whole_until_it_is_settled_through_the_banks(
    group: Ledger,
) -> None:
    (raised,) = await post(group, intercompany("ic1", 30))
    owed, whole = await positions(group, open_only=True), await both(group)
    (paid,) = await post(group, settled("ic2", 30))

    assert [each.transfer_id for each in raised.transfers] == ["ic1:debtor", "ic1:creditor"]
    assert owed == [("n", "m", 30, 30, 0)]
    assert whole == ((70, 30, 100, 0, 0), (80, -30, 50, 0, 0))
    assert (raised.booked, paid.booked) == (True, True)
    assert await positions(group, open_only=True) == []
    assert await both(group) == ((70, 0, 70, 0, 0), (80, 0, 80, 0, 0))


async def test_cash_pooled_at_the_head_is_owed_to_whom_it_came_from(group: Ledger) -> None:
    """n's cash goes to m's bank; n's claim stays, and n has it from m."""
    pooled = intercompany("ic1", 40, creditor_account_id=SECOND_BANK, debtor_account_id=BANK)

    assert (await post(group, pooled))[0].booked

    assert await both(group) == ((100, 40, 140, 0, 0), (50, -40, 10, 0, 0))
    assert await positions(group, open_only=True) == [("n", "m", 40, 40, 0)]


async def test_two_positions_the_other_way_round_net_each_other(group: Ledger) -> None:
    await post(group, intercompany("ic1", 30), the_other_way("ic2", 20))
    netting = settled("net", 20, creditor_account_id=N_TO_M, debtor_account_id=M_FROM_N)

    (netted,) = await post(group, netting)
    (again,) = await post(group, netting)
    (too_much,) = await post(
        group, settled("net2", 1, creditor_account_id=N_TO_M, debtor_account_id=M_FROM_N)
    )

    assert (netted.booked, again.booked, again.replayed) == (True, True, True)
    assert await positions(group) == [("m", "n", 0, 0, 0), ("n", "m", 10, 10, 0)]
    assert (too_much.booked, too_much.error.reason) == (False, "INSUFFICIENT_FUNDS")
    assert await both(group) == ((90, 10, 100, 0, 0), (60, -10, 50, 0, 0))


async def test_both_sides_are_booked_or_neither(group: Ledger) -> None:
    await group.open(account("x/euros/EUR", account_pb2.ACCOUNT_ROLE_SUSPENSE, "EUR"))

    too_much, halfway, fine = await post(
        group,
        intercompany("ic1", 101),
        intercompany("ic2", 10, creditor_account_id="x/euros/EUR"),
        intercompany("ic3", 10),
    )

    assert too_much.error.metadata["transfer_id"] == "ic1:debtor"
    assert (halfway.error.reason, halfway.error.metadata["transfer_id"]) == (
        "CURRENCY_MISMATCH",
        "ic2:creditor",
    )
    assert [each.error.reason for each in halfway.transfers] == [
        "LINKED_FAILED",
        "CURRENCY_MISMATCH",
    ]
    assert fine.booked
    assert await positions(group, open_only=True) == [("n", "m", 10, 10, 0)]


async def test_the_same_id_takes_effect_once_and_with_other_content_is_refused(
    group: Ledger,
) -> None:
    await post(group, intercompany("ic1", 10))

    same, more, elsewhere, back = await post(
        group,
        intercompany("ic1", 10),
        intercompany("ic1", 11),
        intercompany("ic1", 10, creditor_account_id=SECOND_BANK),
        intercompany("ic1", 10, kind=pb.INTERCOMPANY_KIND_SETTLE),
    )

    assert (same.booked, same.replayed) == (True, True)
    reasons = [each.error.reason for each in (more, elsewhere, back)]
    assert reasons == ["TRANSFER_ID_REUSED"] * 3
    assert await positions(group, open_only=True) == [("n", "m", 10, 10, 0)]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (intercompany("ic1", 10, due_from_account_id=OTHER), "due_from_account_id"),
        (intercompany("ic1", 10, due_from_account_id="nobody"), "due_from_account_id"),
        (intercompany("ic1", 10, due_to_account_id=N_FROM_M), "due_to_account_id"),
        (intercompany("ic1", 10, due_to_account_id=N_TO_M), "due_to_account_id"),
        (intercompany("ic1", 10, due_from_account_id="due/n/from-k/CNY"), "due_to_account_id"),
        (settled("ic1", 10, creditor_account_id=N_TO_M), "creditor_account_id"),
        (settled("ic1", 10, debtor_account_id=M_FROM_N), "creditor_account_id"),
        (
            settled("ic1", 10, creditor_account_id=M_TO_N, debtor_account_id=N_FROM_M),
            "creditor_account_id",
        ),
    ],
)
async def test_accounts_that_are_not_one_position_are_refused_alone(
    group: Ledger, bad: pb.IntercompanyTransfer, field: str
) -> None:
    stranger = position_account("due/n/from-k/CNY", account_pb2.ACCOUNT_ROLE_DUE_FROM, "n", "k")
    await group.open(stranger)

    refused, fine = await post(group, bad, intercompany("fine", 1))

    assert (refused.error.reason, refused.error.field) == ("POSITION_MISMATCH", field)
    assert (list(refused.transfers), fine.booked) == ([], True)


async def test_sides_that_disagree_show_by_how_much_and_filters_hold(group: Ledger) -> None:
    await post(group, intercompany("ic1", 30))
    await group.post(transfer("one-sided", M_TO_N, AVAILABLE, 4))

    assert await positions(group, entity_id="m", open_only=True) == [("n", "m", 30, 26, 4)]
    assert await positions(group, entity_id="k") == []
    assert await positions(group, currency="USD") == []


@pytest.mark.parametrize(
    ("role", "owner", "counterparty"),
    [
        (account_pb2.ACCOUNT_ROLE_MERCHANT_AVAILABLE, "m", "n"),
        (account_pb2.ACCOUNT_ROLE_DUE_FROM, "m", "m"),
    ],
)
async def test_only_a_position_has_a_counterparty_and_another_than_its_owner(
    ledger: Ledger, role: account_pb2.AccountRole.ValueType, owner: str, counterparty: str
) -> None:
    (refused,) = await ledger.open(position_account("due/x/CNY", role, owner, counterparty))
    assert (refused.error.reason, refused.error.field) == (
        "COUNTERPARTY_INVALID",
        "counterparty_id",
    )


def of(
    reference: str, name: str, debit: str, credit: str, amount_minor: int
) -> account_pb2.Transfer:
    made = transfer(name, debit, credit, amount_minor)
    made.reference = reference
    return made


async def in_transit(ledger: Ledger) -> pb.InTransitAccount:
    answer = await client.call(
        ledger.treasury.ListInTransit, pb.ListInTransitRequest(), timeout_s=TIMEOUT_S
    )
    (found,) = answer.accounts
    return found


async def test_what_is_in_transit_is_named_with_its_age_though_later_money_has_passed_it(
    group: Ledger,
) -> None:
    await group.post(of("sweep_1", "a-out", TRANSIT, BANK, 10))
    group.clock.advance(60)
    await group.post(
        of("sweep_2", "b-out", TRANSIT, BANK, 10),
        of("sweep_2", "b-in", SECOND_BANK, TRANSIT, 10),
        of("sweep_3", "c-out", TRANSIT, BANK, 7),
        of("sweep_3", "c-in", SECOND_BANK, TRANSIT, 5),
        of("early", "d-in", SECOND_BANK, TRANSIT, 3),
        of("", "e-out", TRANSIT, BANK, 4),
        of("", "f-in", SECOND_BANK, TRANSIT, 4),
    )

    found = await in_transit(group)

    assert (found.posted_minor, found.items_count, found.earlier_minor) == (9, 5, 0)
    assert [(each.reference, each.amount_minor) for each in found.items] == [
        ("sweep_1", 10),
        ("sweep_3", 2),
        ("early", -3),
        ("", 4),
        ("", -4),
    ]
    assert found.oldest_at.ToDatetime(tzinfo=MORNING.tzinfo) == MORNING
    assert sum(each.amount_minor for each in found.items) == found.posted_minor


async def test_what_stood_before_the_entries_looked_at_is_one_sum(group: Ledger) -> None:
    await group.post(
        of("old", "a-out", TRANSIT, BANK, 10),
        of("new", "b-out", TRANSIT, BANK, 7),
        of("newer", "c-in", SECOND_BANK, TRANSIT, 2),
    )
    store = PositionStore(group.pool, entries_looked_max=2)

    (found,) = await store.list_in_transit(currency="CNY", after="", limit=2)

    assert [(each.reference, each.amount_minor) for each in found.items] == [
        ("new", 7),
        ("newer", -2),
    ]
    assert (found.posted_minor, found.earlier_minor) == (15, 10)
