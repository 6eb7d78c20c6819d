"""Freezing, closing, bounding accounts."""

from collections.abc import Sequence

from fisc.account.v1 import account_pb2 as pb
from libs.rpc import client
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    OTHER,
    PENDING,
    TIMEOUT_S,
    Ledger,
    hold,
    transfer,
)


def change(
    account_id: str,
    state: pb.AccountState.ValueType = pb.ACCOUNT_STATE_UNSPECIFIED,
    *,
    bounds: pb.AccountBounds | None = None,
    reason: str = "court order",
) -> pb.AccountChange:
    return pb.AccountChange(account_id=account_id, state=state, bounds=bounds, reason=reason)


async def apply(
    ledger: Ledger, *changes: pb.AccountChange, request_id: str = "c1"
) -> Sequence[pb.AccountChangeResult]:
    request = pb.ChangeAccountsRequest(request_id=request_id, changes=changes)
    answer = await client.call(ledger.stub.ChangeAccounts, request, timeout_s=TIMEOUT_S)
    return answer.results


async def test_a_freeze_stops_what_comes_after_it_on_its_side_only(ledger: Ledger) -> None:
    await ledger.fund(100)
    (frozen,) = await apply(ledger, change(AVAILABLE, pb.ACCOUNT_STATE_DEBITS_FROZEN))

    out, into = await ledger.post(
        transfer("out", AVAILABLE, OTHER, 1), transfer("in", BANK, AVAILABLE, 1)
    )
    (held,) = await ledger.place(hold("h1", 1))
    await apply(ledger, change(AVAILABLE, pb.ACCOUNT_STATE_CREDITS_FROZEN), request_id="c2")
    out_2, into_2 = await ledger.post(
        transfer("out", AVAILABLE, OTHER, 1), transfer("in-2", BANK, AVAILABLE, 1)
    )

    assert (frozen.changed, frozen.state) == (True, pb.ACCOUNT_STATE_DEBITS_FROZEN)
    assert (out.error.reason, out.error.field) == ("ACCOUNT_FROZEN", "debit_account_id")
    assert into.booked
    assert held.error.reason == "ACCOUNT_FROZEN"
    assert out_2.booked
    assert (into_2.error.reason, into_2.error.field) == ("ACCOUNT_FROZEN", "credit_account_id")


async def test_holds_from_before_a_freeze_are_still_captured_and_voided(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 10), hold("h2", 20))
    await apply(
        ledger, change(AVAILABLE, pb.ACCOUNT_STATE_FROZEN), change(BANK, pb.ACCOUNT_STATE_FROZEN)
    )

    captured = await ledger.capture("h1")
    (voided,) = await ledger.void("h2")

    assert captured.accepted
    assert voided.accepted
    assert (await ledger.balance()).available_minor == 90


async def test_only_an_empty_account_is_closed_and_then_takes_nothing(ledger: Ledger) -> None:
    await ledger.fund(100)
    (full,) = await apply(ledger, change(AVAILABLE, pb.ACCOUNT_STATE_CLOSED))
    await ledger.post(transfer("out", AVAILABLE, OTHER, 100))
    (closed,) = await apply(ledger, change(AVAILABLE, pb.ACCOUNT_STATE_CLOSED), request_id="c2")
    (late,) = await ledger.post(transfer("late", BANK, AVAILABLE, 1))
    request = pb.GetAccountRequest(account_id=AVAILABLE)
    seen = await client.call(ledger.stub.GetAccount, request, timeout_s=TIMEOUT_S)

    assert (full.error.reason, full.error.metadata["posted_minor"]) == ("ACCOUNT_NOT_EMPTY", "100")
    assert closed.changed
    assert late.error.reason == "ACCOUNT_CLOSED"
    assert seen.account.state == pb.ACCOUNT_STATE_CLOSED


async def test_bounds_hold_for_what_is_booked_and_held(ledger: Ledger) -> None:
    await ledger.fund(100)
    (result,) = await apply(
        ledger,
        change(AVAILABLE, bounds=pb.AccountBounds(floor_minor=40, ceiling_minor=120)),
    )

    over, under, fits = await ledger.post(
        transfer("over", BANK, AVAILABLE, 21),
        transfer("under", AVAILABLE, OTHER, 61),
        transfer("fits", AVAILABLE, OTHER, 50),
    )
    (held,) = await ledger.place(hold("h1", 11))

    assert (result.bounds.floor_minor, result.bounds.ceiling_minor) == (40, 120)
    assert [over.error.reason, under.error.reason] == ["CEILING_EXCEEDED", "INSUFFICIENT_FUNDS"]
    assert fits.booked
    assert (held.error.reason, held.error.metadata["short_minor"]) == ("INSUFFICIENT_FUNDS", "1")


async def test_bounds_that_make_no_sense_or_do_not_fit_are_refused(ledger: Ledger) -> None:
    await ledger.fund(100)

    results = await apply(
        ledger,
        change(AVAILABLE, bounds=pb.AccountBounds(floor_minor=-1)),
        change(PENDING, bounds=pb.AccountBounds(floor_minor=5, ceiling_minor=4)),
        change(BANK, bounds=pb.AccountBounds(ceiling_minor=99)),
        change("nobody", pb.ACCOUNT_STATE_FROZEN),
    )

    assert [(result.error.reason, result.error.field) for result in results] == [
        ("BOUNDS_INVALID", "floor_minor"),
        ("BOUNDS_INVALID", "ceiling_minor"),
        ("BALANCE_OUT_OF_BOUNDS", "ceiling_minor"),
        ("ACCOUNT_NOT_FOUND", "account_id"),
    ]


async def test_a_change_takes_effect_once_and_is_kept_with_its_reason(ledger: Ledger) -> None:
    frozen = change(AVAILABLE, pb.ACCOUNT_STATE_FROZEN)
    await apply(ledger, frozen)
    await apply(ledger, change(AVAILABLE, pb.ACCOUNT_STATE_OPEN, reason="lifted"), request_id="c2")

    (again,) = await apply(ledger, frozen)
    (other,) = await apply(ledger, change(AVAILABLE, pb.ACCOUNT_STATE_FROZEN, reason="new"))
    kept = await ledger.pool.fetch(
        "SELECT request_id, reason, state_before, state_after FROM account_change ORDER BY 1"
    )

    assert (again.replayed, again.state) == (True, pb.ACCOUNT_STATE_OPEN)
    assert (other.error.reason, other.error.field) == ("REQUEST_ID_REUSED", "reason")
    assert [tuple(row.values()) for row in kept] == [
        ("c1", "court order", "OPEN", "FROZEN"),
        ("c2", "lifted", "FROZEN", "OPEN"),
    ]
