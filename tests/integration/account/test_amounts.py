"""Amounts that the ledger decides: balancing, reversals; and conversions, which are three transfers in one."""

from collections.abc import Sequence

import pytest

from fisc.account.v1 import account_pb2 as pb
from fisc.common.v1 import money_pb2
from libs.rpc import client
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    OTHER,
    PENDING,
    TIMEOUT_S,
    Ledger,
    account,
    cny,
    hold,
    transfer,
)

EUROS = "merchant/m/available/EUR"
LIQUIDITY_CNY, LIQUIDITY_EUR = "house/fx/liquidity/CNY", "house/fx/liquidity/EUR"
FX_INCOME = "house/fx/income/EUR"


def balancing(name: str, debit: str, credit: str, most: int = 0, keep: int = 0) -> pb.Transfer:
    asked = transfer(name, debit, credit, most)
    asked.balancing = pb.BALANCING_AT_MOST
    asked.keep_minor = keep
    return asked


def reversal(name: str, of: str, amount_minor: int = 0) -> pb.Transfer:
    return pb.Transfer(transfer_id=name, reverses_transfer_id=of, amount=cny(amount_minor))


def told(results: Sequence[pb.TransferResult]) -> list[tuple[str, int]]:
    return [(result.error.reason, result.applied_amount_minor) for result in results]


async def test_balancing_moves_what_is_free_above_what_is_to_stay(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 30))

    results = await ledger.post(
        balancing("at-most", AVAILABLE, OTHER, most=10),
        balancing("above-40", AVAILABLE, OTHER, keep=40),
        balancing("above-40-again", AVAILABLE, OTHER, keep=40),
        balancing("all", AVAILABLE, OTHER),
        balancing("nothing", AVAILABLE, OTHER),
    )

    assert told(results) == [
        ("", 10),
        ("", 20),
        ("NOTHING_TO_MOVE", 0),
        ("", 40),
        ("NOTHING_TO_MOVE", 0),
    ]
    assert (await ledger.balance(OTHER)).posted_minor == 70
    assert (await ledger.balance()).available_minor == 0


async def test_a_sweep_sent_again_answers_what_it_moved_the_first_time(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.post(balancing("sweep", AVAILABLE, OTHER, keep=40))
    await ledger.post(transfer("more", BANK, AVAILABLE, 500))

    again, other_keep, other_most, plain = await ledger.post(
        balancing("sweep", AVAILABLE, OTHER, keep=40),
        balancing("sweep", AVAILABLE, OTHER, keep=41),
        balancing("sweep", AVAILABLE, OTHER, most=60, keep=40),
        transfer("sweep", AVAILABLE, OTHER, 60),
    )

    assert (again.replayed, again.applied_amount_minor) == (True, 60)
    fields = [result.error.field for result in (other_keep, other_most, plain)]
    assert fields == ["keep_minor", "amount.amount_minor", "balancing"]
    assert (await ledger.balance(OTHER)).posted_minor == 60


async def test_between_bank_mirrors_the_credited_one_gives(ledger: Ledger) -> None:
    second = "bank/boc/CNY"
    await ledger.open(account(second, pb.ACCOUNT_ROLE_BANK_MIRROR))
    await ledger.fund(100)

    results = await ledger.post(
        balancing("sweep", second, BANK, keep=15), balancing("odd", BANK, AVAILABLE)
    )

    assert told(results) == [("", 85), ("BALANCING_UNSUPPORTED", 0)]
    assert (await ledger.balance(BANK)).posted_minor == 15


async def test_a_transfer_is_taken_back_in_parts_but_never_more_than_all_of_it(
    ledger: Ledger,
) -> None:
    await ledger.fund(100)
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 50))

    results = await ledger.post(
        reversal("r1", "t1", 20),
        reversal("r2", "t1", 31),
        reversal("r3", "t1"),
        reversal("r4", "t1"),
        reversal("r1", "t1", 20),
        reversal("r5", "unknown"),
    )

    assert told(results) == [
        ("", 20),
        ("REVERSAL_TOO_LARGE", 0),
        ("", 30),
        ("REVERSAL_TOO_LARGE", 0),
        ("", 20),
        ("TRANSFER_NOT_FOUND", 0),
    ]
    assert results[4].replayed
    assert (await ledger.balance()).posted_minor == 100
    lines = (await ledger.entries(AVAILABLE)).entries
    assert [line.transfer_id for line in lines[-2:]] == ["r1", "r3"]


async def test_a_reversal_of_another_call_counts_as_well(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 50), reversal("r1", "t1", 20))

    (second,) = await ledger.post(reversal("r2", "t1", 40))
    (third,) = await ledger.post(reversal("r3", "t1"))

    assert second.error.metadata["rest_minor"] == "30"
    assert third.applied_amount_minor == 30


async def test_a_reversal_says_nothing_else_than_its_original(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 50))
    odd = reversal("r1", "t1")
    odd.debit_account_id = PENDING
    right = reversal("r1", "t1")
    right.debit_account_id, right.credit_account_id = OTHER, AVAILABLE

    results = await ledger.post(odd, right)

    assert (results[0].error.reason, results[0].error.field) == (
        "REVERSAL_DIFFERS",
        "debit_account_id",
    )
    assert results[1].applied_amount_minor == 50


async def convert(ledger: Ledger, *conversions: pb.Conversion) -> Sequence[pb.ConversionResult]:
    request = pb.PostConversionsRequest(request_id="r", conversions=conversions)
    answer = await client.call(ledger.stub.PostConversions, request, timeout_s=TIMEOUT_S)
    return answer.results


def conversion(name: str, sold_minor: int, spread_minor: int = 3) -> pb.Conversion:
    return pb.Conversion(
        conversion_id=name,
        debit_account_id=AVAILABLE,
        sold=cny(sold_minor),
        credit_account_id=EUROS,
        bought=money_pb2.Money(currency="EUR", amount_minor=10),
        sold_liquidity_account_id=LIQUIDITY_CNY,
        bought_liquidity_account_id=LIQUIDITY_EUR,
        spread_minor=spread_minor,
        spread_account_id=FX_INCOME if spread_minor else "",
        reference="fx_1",
    )


@pytest.fixture
async def desk(ledger: Ledger) -> Ledger:
    await ledger.open(
        account(EUROS, pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE, "EUR"),
        account(LIQUIDITY_CNY, pb.ACCOUNT_ROLE_LIQUIDITY),
        account(LIQUIDITY_EUR, pb.ACCOUNT_ROLE_LIQUIDITY, "EUR"),
        account(FX_INCOME, pb.ACCOUNT_ROLE_FEE_INCOME, "EUR"),
    )
    await ledger.fund(100)
    return ledger


async def test_a_conversion_moves_both_currencies_and_the_spread_or_nothing(
    desk: Ledger,
) -> None:
    too_much, fine = await convert(desk, conversion("fx1", 101), conversion("fx2", 90))
    (again,) = await convert(desk, conversion("fx2", 90))

    assert too_much.error.reason == "INSUFFICIENT_FUNDS"
    assert too_much.error.metadata["transfer_id"] == "fx1:sell"
    assert (fine.booked, fine.replayed, again.replayed) == (True, False, True)
    assert [each.transfer_id for each in fine.transfers] == ["fx2:sell", "fx2:buy", "fx2:spread"]
    posted = [
        (await desk.balance(name)).posted_minor
        for name in (AVAILABLE, EUROS, LIQUIDITY_CNY, LIQUIDITY_EUR, FX_INCOME)
    ]
    assert posted == [10, 10, 90, -13, 3]
    assert (await desk.trial_balance()).imbalance_minor == 0


async def test_the_same_conversion_with_another_spread_is_refused(desk: Ledger) -> None:
    await convert(desk, conversion("fx1", 90))

    (without,) = await convert(desk, conversion("fx1", 90, spread_minor=0))

    assert (without.booked, without.error.reason) == (False, "TRANSFER_ID_REUSED")
    assert (await desk.balance(FX_INCOME)).posted_minor == 3


async def test_a_conversion_in_an_unknown_currency_fails_alone(desk: Ledger) -> None:
    bought, sold = conversion("fx1", 10), conversion("fx2", 10)
    bought.bought.currency, sold.sold.currency = "ZZZ", "XXX"

    first, second, third = await convert(desk, bought, conversion("fx3", 20), sold)
    (alone,) = await convert(desk, bought)

    assert (first.error.reason, first.error.field) == ("UNKNOWN_CURRENCY", "bought.currency")
    assert second.booked
    assert (third.error.reason, third.error.field) == ("UNKNOWN_CURRENCY", "sold.currency")
    assert (alone.booked, alone.error.reason) == (False, "UNKNOWN_CURRENCY")
    assert (await desk.balance()).posted_minor == 80
