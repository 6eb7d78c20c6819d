"""What is wrong with one item is that item's matter: it has a verdict of its own, and its neighbours pass."""

import asyncio
from collections.abc import Sequence

import pytest

from fisc.account.v1 import account_pb2 as pb
from fisc.common.v1 import money_pb2
from libs.errors import FiscError
from libs.rpc import client
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    OTHER,
    TIMEOUT_S,
    Ledger,
    account,
    cny,
    transfer,
)

CLOSED, FROZEN, FULL, YEN = (f"x/{name}/CNY" for name in ("closed", "frozen", "full", "yen"))
EUROS, FROZEN_EUROS, LIQUIDITY_CNY, LIQUIDITY_EUR = (
    "x/m/available/EUR",
    "x/frozen/EUR",
    "x/liquidity/CNY",
    "x/liquidity/EUR",
)
# What an account may have moved before it refuses more, less one.
NEARLY_ALL = 9 * 10**18 - 1
FUNDS = 1_000


@pytest.fixture
async def used(ledger: Ledger) -> Ledger:
    """A ledger in which something of each kind can go wrong."""
    await ledger.open(
        account(CLOSED, pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE),
        account(FROZEN, pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE),
        account(FULL, pb.ACCOUNT_ROLE_SUSPENSE),
        account(YEN, pb.ACCOUNT_ROLE_SUSPENSE, "JPY"),
        account(EUROS, pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE, "EUR"),
        account(FROZEN_EUROS, pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE, "EUR"),
        account(LIQUIDITY_CNY, pb.ACCOUNT_ROLE_LIQUIDITY),
        account(LIQUIDITY_EUR, pb.ACCOUNT_ROLE_LIQUIDITY, "EUR"),
    )
    states = (
        (CLOSED, pb.ACCOUNT_STATE_CLOSED),
        (FROZEN, pb.ACCOUNT_STATE_FROZEN),
        (FROZEN_EUROS, pb.ACCOUNT_STATE_FROZEN),
    )
    changes = [pb.AccountChange(account_id=n, state=state, reason="test") for n, state in states]
    request = pb.ChangeAccountsRequest(request_id="r", changes=changes)
    changed = await client.call(ledger.stub.ChangeAccounts, request, timeout_s=TIMEOUT_S)
    assert all(each.changed for each in changed.results)
    await ledger.pool.execute(
        "UPDATE account_balance SET debits_minor = $2, credits_minor = $2 WHERE account_id = $1",
        FULL,
        NEARLY_ALL,
    )
    await ledger.fund(FUNDS)
    return ledger


def moving(**other: object) -> pb.Transfer:
    """A transfer that would pass, but for what is said."""
    made = transfer("bad", AVAILABLE, OTHER, 7)
    amount = other.pop("amount_minor", 7)
    currency = other.pop("currency", "CNY")
    made.MergeFrom(pb.Transfer(**other))  # type: ignore[arg-type]  # rows of a table
    made.amount.CopyFrom(money_pb2.Money(currency=str(currency), amount_minor=int(str(amount))))
    return made


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (moving(debit_account_id="nobody"), "ACCOUNT_NOT_FOUND", "debit_account_id"),
        (moving(credit_account_id="nobody"), "ACCOUNT_NOT_FOUND", "credit_account_id"),
        (moving(credit_account_id=CLOSED), "ACCOUNT_CLOSED", "credit_account_id"),
        (moving(credit_account_id=FROZEN), "ACCOUNT_FROZEN", "credit_account_id"),
        (moving(credit_account_id=YEN), "CURRENCY_MISMATCH", "amount.currency"),
        (moving(currency="ZZZ"), "CURRENCY_MISMATCH", "amount.currency"),
        (moving(amount_minor=0), "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        (moving(amount_minor=-1), "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        (moving(credit_account_id=FULL), "BALANCE_OVERFLOW", ""),
        (moving(transfer_id="good-1"), "TRANSFER_ID_REUSED", "amount.amount_minor"),
        (moving(effective_date="9999-12-31"), "EFFECTIVE_DATE_OUT_OF_WINDOW", "effective_date"),
        (moving(effective_date="2026-02-30"), "INVALID_EFFECTIVE_DATE", "effective_date"),
        (moving(amount_minor=FUNDS), "INSUFFICIENT_FUNDS", "amount.amount_minor"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_of_transfers_only_the_bad_one_is_refused(
    used: Ledger, bad: pb.Transfer, reason: str, field: str
) -> None:
    good = [transfer(f"good-{n}", AVAILABLE, OTHER, n) for n in (1, 2)]

    before, refused, after = await used.post(good[0], bad, good[1])

    assert (refused.error.reason, refused.error.field) == (reason, field)
    assert (before.booked, refused.booked, after.booked) == (True, False, True)
    assert (await used.balance()).posted_minor == FUNDS - 3


async def test_a_chain_of_transfers_that_can_never_succeed_fails_alone(used: Ledger) -> None:
    results = await used.post(
        transfer("good-1", AVAILABLE, OTHER, 1),
        transfer("c1", AVAILABLE, OTHER, 10, linked=True),
        transfer("c2", AVAILABLE, "nobody", 10, linked=True),
        transfer("c3", OTHER, AVAILABLE, 10),
        transfer("good-2", AVAILABLE, OTHER, 2),
    )

    reasons = [result.error.reason for result in results]
    assert reasons == ["", "LINKED_FAILED", "ACCOUNT_NOT_FOUND", "LINKED_FAILED", ""]
    assert (await used.balance()).posted_minor == FUNDS - 3


def setting_aside(hold_id: str, amount_minor: int, currency: str = "CNY", **other: str) -> pb.Hold:
    accounts = {"debit_account_id": AVAILABLE, "credit_account_id": BANK}
    amount = money_pb2.Money(currency=currency, amount_minor=amount_minor)
    return pb.Hold(hold_id=hold_id, amount=amount, **{**accounts, **other})  # type: ignore[arg-type]  # texts


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (
            setting_aside("bad", 7, debit_account_id="nobody"),
            "ACCOUNT_NOT_FOUND",
            "debit_account_id",
        ),
        (
            setting_aside("bad", 7, credit_account_id="nobody"),
            "ACCOUNT_NOT_FOUND",
            "credit_account_id",
        ),
        (setting_aside("bad", 7, credit_account_id=CLOSED), "ACCOUNT_CLOSED", "credit_account_id"),
        (setting_aside("bad", 7, debit_account_id=FROZEN), "ACCOUNT_FROZEN", "debit_account_id"),
        (setting_aside("bad", 7, credit_account_id=YEN), "CURRENCY_MISMATCH", "amount.currency"),
        (setting_aside("bad", 7, "ZZZ"), "CURRENCY_MISMATCH", "amount.currency"),
        (setting_aside("bad", 0), "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        (setting_aside("bad", -1), "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        (setting_aside("good-1", 7), "HOLD_ID_REUSED", "amount.amount_minor"),
        (setting_aside("bad", FUNDS), "INSUFFICIENT_FUNDS", "amount.amount_minor"),
        (
            setting_aside("bad", 7, debit_account_id=BANK, credit_account_id=OTHER),
            "ACCOUNT_NOT_HOLDABLE",
            "debit_account_id",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_of_holds_only_the_bad_one_is_refused(
    used: Ledger, bad: pb.Hold, reason: str, field: str
) -> None:
    before, refused, after = await used.place(
        setting_aside("good-1", 1), bad, setting_aside("good-2", 2)
    )

    assert (refused.error.reason, refused.error.field) == (reason, field)
    assert (before.accepted, refused.accepted, after.accepted) == (True, False, True)
    assert (await used.balance()).held_minor == 3


async def test_holds_and_captures_that_overflow_an_account_fail_alone(used: Ledger) -> None:
    """Of the account that a hold goes to, what it has counted is known only when the hold is captured."""
    await used.pool.execute(
        "UPDATE account_balance SET held_minor = $2, credits_minor = $3 WHERE account_id = $1",
        FULL,
        NEARLY_ALL,
        NEARLY_ALL,
    )
    filled, good, to_full = await used.place(
        setting_aside("bad", 7, debit_account_id=FULL),
        setting_aside("good", 1),
        setting_aside("late", 7, credit_account_id=FULL),
    )
    late, kept = [await used.capture(name) for name in ("late", "good")]

    assert filled.error.reason == "BALANCE_OVERFLOW"
    assert (good.accepted, to_full.accepted) == (True, True)
    assert (late.error.reason, kept.accepted) == ("BALANCE_OVERFLOW", True)


async def test_linked_holds_that_can_never_be_placed_fail_alone(used: Ledger) -> None:
    first, second = setting_aside("c1", FUNDS - 10), setting_aside("c2", FUNDS - 10)
    first.linked = True

    results = await used.place(
        setting_aside("good-1", 1), first, second, setting_aside("good-2", 2)
    )

    reasons = [result.error.reason for result in results]
    assert reasons == ["", "LINKED_FAILED", "INSUFFICIENT_FUNDS", ""]
    assert (await used.balance()).held_minor == 3


def converting(conversion_id: str, **other: object) -> pb.Conversion:
    made = pb.Conversion(
        conversion_id=conversion_id,
        debit_account_id=AVAILABLE,
        sold=cny(7),
        credit_account_id=EUROS,
        bought=money_pb2.Money(currency="EUR", amount_minor=1),
        sold_liquidity_account_id=LIQUIDITY_CNY,
        bought_liquidity_account_id=LIQUIDITY_EUR,
    )
    made.MergeFrom(pb.Conversion(**other))  # type: ignore[arg-type]  # rows of a table
    return made


def of_none(conversion_id: str) -> pb.Conversion:
    made = converting(conversion_id)
    made.sold.amount_minor = 0
    return made


@pytest.mark.parametrize(
    ("bad", "reason", "transfer"),
    [
        (converting("bad", debit_account_id="nobody"), "ACCOUNT_NOT_FOUND", "sell"),
        (converting("bad", credit_account_id="nobody"), "ACCOUNT_NOT_FOUND", "buy"),
        (converting("bad", debit_account_id=CLOSED), "ACCOUNT_CLOSED", "sell"),
        (converting("bad", credit_account_id=FROZEN_EUROS), "ACCOUNT_FROZEN", "buy"),
        (converting("bad", credit_account_id=OTHER), "CURRENCY_MISMATCH", "buy"),
        (converting("bad", sold_liquidity_account_id=FULL), "BALANCE_OVERFLOW", "sell"),
        (converting("bad", sold=cny(FUNDS)), "INSUFFICIENT_FUNDS", "sell"),
        (converting("bad", spread_minor=1), "ACCOUNT_NOT_FOUND", "spread"),
        (converting("bad", effective_date="9999-12-31"), "EFFECTIVE_DATE_OUT_OF_WINDOW", "sell"),
        (converting("bad", sold=cny(-7)), "AMOUNT_OUT_OF_RANGE", "sell"),
        (of_none("bad"), "AMOUNT_OUT_OF_RANGE", "sell"),
        (converting("good-1", sold=cny(8)), "TRANSFER_ID_REUSED", "sell"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_of_conversions_only_the_bad_one_is_refused(
    used: Ledger, bad: pb.Conversion, reason: str, transfer: str
) -> None:
    request = pb.PostConversionsRequest(
        request_id="r", conversions=[converting("good-1"), bad, converting("good-2")]
    )
    answer = await client.call(used.stub.PostConversions, request, timeout_s=TIMEOUT_S)
    before, refused, after = answer.results

    assert refused.error.reason == reason
    assert refused.error.metadata["transfer_id"] == f"{bad.conversion_id}:{transfer}"
    assert (before.booked, refused.booked, after.booked) == (True, False, True)
    assert (await used.balance()).posted_minor == FUNDS - 14
    assert (await used.balance(EUROS)).posted_minor == 2


async def test_a_batch_over_the_limit_is_refused_whole_and_no_other_call_with_it(
    used: Ledger,
) -> None:
    good = [asyncio.create_task(used.post(transfer(f"t{n}", AVAILABLE, OTHER, 1))) for n in "123"]
    conversions = pb.PostConversionsRequest(
        request_id="r", conversions=[converting(f"c{n}") for n in range(257)]
    )
    too_long: Sequence[tuple[object, str]] = (
        (used.post(*(transfer(f"b{n}", AVAILABLE, OTHER, 1) for n in range(1_025))), "transfers"),
        (used.place(*(setting_aside(f"h{n}", 1) for n in range(257))), "holds"),
        (
            client.call(used.stub.PostConversions, conversions, timeout_s=TIMEOUT_S),
            "conversions",
        ),
    )
    for call, field in too_long:
        with pytest.raises(FiscError) as refused:
            await call  # type: ignore[misc]  # each is a coroutine
        assert (refused.value.kind.name, refused.value.field) == ("INVALID", field)

    for task in good:
        assert (await task)[0].booked
    balance = await used.balance()
    assert (balance.posted_minor, balance.held_minor) == (FUNDS - 3, 0)
