"""What a replay is summed up to, and the checks that decide whether a day holds."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from deploy.local import catalog, checks, summary
from deploy.local.checks import Facts
from deploy.local.close import Close
from deploy.local.outcomes import Outcomes
from fisc.account.v1 import treasury_pb2
from fisc.clearing.v1 import clearing_pb2
from fisc.common.v1 import events_pb2, money_pb2
from fisc.gateway.v1 import events_pb2 as gateway_events
from fisc.gateway.v1 import payment_pb2
from fisc.router.v1 import router_pb2

CARDS = [
    router_pb2.Channel(channel_id="card-a", fee=router_pb2.FeeSchedule(rate_ppm=4_500)),
    router_pb2.Channel(
        channel_id="card-b", fee=router_pb2.FeeSchedule(rate_ppm=5_200, fixed_minor=10)
    ),
]


def attempt(number: int, channel_id: str, state: str) -> gateway_events.AttemptRecord:
    return gateway_events.AttemptRecord(
        attempt_id=f"att_1{number:02d}",
        subject_id="pay_1",
        number=number,
        channel_id=channel_id,
        out_ref=f"p1{number:02d}",
        state=state,
        latency_ms=100 * number,
    )


def payment(state: "payment_pb2.Payment.State.ValueType", version: int = 2) -> payment_pb2.Payment:
    return payment_pb2.Payment(
        payment_id="pay_1",
        request_id="day:P1",
        amount=money_pb2.Money(currency="CNY", amount_minor=10_000),
        state=state,
        version=version,
    )


def event(
    event_id: str, type_: str, subject: payment_pb2.Payment, *tries: gateway_events.AttemptRecord
) -> events_pb2.Event:
    made = events_pb2.Event(event_id=event_id, type=type_, subject_id=subject.payment_id)
    made.payload.Pack(gateway_events.PaymentEvent(payment=subject, attempts=tries))
    return made


def failed_over() -> Outcomes:
    """One payment that card-a declined and card-b took."""
    outcomes = Outcomes("day:")
    succeeded = payment(payment_pb2.Payment.STATE_SUCCEEDED)
    outcomes.take_event(
        event(
            "1",
            "payment.rerouted",
            payment(payment_pb2.Payment.STATE_PROCESSING, 1),
            attempt(1, "card-a", "DECLINED"),
            attempt(2, "card-b", "SENT"),
        )
    )
    outcomes.take_event(
        event("2", "payment.succeeded", succeeded, attempt(2, "card-b", "SUCCEEDED"))
    )
    return outcomes


def charge(out_ref: str, times: int, amount: int = 10_000) -> dict[str, Any]:
    return {
        "kind": "charge",
        "account_id": "card-b",
        "out_ref": out_ref,
        "amount": amount,
        "currency": "CNY",
        "status": "SUCCEEDED" if times else "DECLINED",
        "times_charged": times,
        "fee": 62,
    }


def facts(
    *book: dict[str, Any],
    receivable_minor: int = 0,
    imbalance_minor: int = 0,
    mirrors: Sequence[treasury_pb2.Mirror] = (),
) -> Facts:
    return Facts(
        book=list(book),
        receivables_minor={"channel/card-b/receivable/CNY": receivable_minor},
        imbalance_minor=imbalance_minor,
        transfers_count=1,
        mirrors=list(mirrors),
        backlog={},
        events_unpushed=0,
        deliveries=Counter(),
    )


def mirror(name: str, claims_minor: int, bank_minor: int, accounts: int) -> treasury_pb2.Mirror:
    return treasury_pb2.Mirror(
        real_account_id=name,
        currency="CNY",
        claims_minor=claims_minor,
        bank_minor=bank_minor,
        difference_minor=claims_minor - bank_minor,
        accounts_count=accounts,
    )


def test_what_is_claimed_must_lie_in_the_bank_and_nothing_stand_elsewhere() -> None:
    ours = mirror(catalog.REAL_ACCOUNT, 100, 100, len(catalog.mapped_accounts()))
    empty = mirror("", 0, 0, 3)

    assert checks.banks_agree(facts(mirrors=[ours, empty])).holds
    for wrong in (
        [],
        [mirror(catalog.REAL_ACCOUNT, 100, 99, len(catalog.mapped_accounts())), empty],
        [mirror(catalog.REAL_ACCOUNT, 100, 100, 2), empty],
        [ours, mirror("", 5, 5, 3)],
    ):
        assert not checks.banks_agree(facts(mirrors=wrong)).holds


def test_a_failover_counts_as_an_attempt_at_both_channels_and_a_success_at_one() -> None:
    first, second = summary.by_channel(failed_over(), CARDS)

    assert (first.channel_id, first.attempts, first.succeeded) == ("card-a", 1, 0)
    assert (first.declined, first.failed_over, first.success_percent) == (1, 1, "0.0 %")
    assert (second.channel_id, second.attempts, second.succeeded) == ("card-b", 1, 1)
    assert second.amount_minor == 10_000
    assert second.expected_cost_minor == 52 + 10
    assert second.latency_ms(95) == 200


def test_events_heard_twice_and_out_of_order_change_nothing() -> None:
    outcomes = failed_over()
    late = event(
        "2",
        "payment.succeeded",
        payment(payment_pb2.Payment.STATE_SUCCEEDED),
        attempt(2, "card-b", "SUCCEEDED"),
    )
    outcomes.take_event(late)
    outcomes.take(payment(payment_pb2.Payment.STATE_PROCESSING, 1))

    assert len(outcomes.succeeded_events["pay_1"]) == 1
    assert outcomes.unended() == []


def test_another_file_s_payments_are_not_counted() -> None:
    outcomes = Outcomes("other:")
    outcomes.take(payment(payment_pb2.Payment.STATE_SUCCEEDED))
    assert outcomes.subjects == {}


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 95, 0), ([7], 50, 7), ([3, 1, 2], 50, 2), (list(range(1, 101)), 95, 95)],
)
def test_percentiles_are_of_the_nearest_rank(
    values: list[int], percent: int, expected: int
) -> None:
    assert summary.percentile(values, percent) == expected


def test_a_payment_charged_once_passes_and_one_charged_twice_does_not() -> None:
    outcomes = failed_over()
    assert checks.nobody_paid_twice(outcomes, facts(charge("p102", 1), charge("p101", 0))).holds

    at_both = checks.nobody_paid_twice(outcomes, facts(charge("p102", 1), charge("p101", 1)))
    assert (at_both.holds, at_both.detail) == (False, "pay_1 is SUCCEEDED, charged 2 times")
    assert not checks.nobody_paid_twice(outcomes, facts()).holds
    assert not checks.nobody_paid_twice(outcomes, facts(charge("p102", 1), charge("p999", 1))).holds


def test_books_agree_only_when_amounts_do() -> None:
    outcomes = failed_over()
    assert checks.books_agree(outcomes, facts(charge("p102", 1))).holds
    assert not checks.books_agree(outcomes, facts(charge("p102", 1, amount=9_999))).holds
    assert not checks.books_agree(outcomes, facts()).holds


def test_the_ledger_must_sum_to_zero_and_say_what_the_channel_says() -> None:
    book = charge("p102", 1)
    assert checks.ledger_agrees(facts(book, receivable_minor=10_000 - 62)).holds
    assert not checks.ledger_agrees(facts(book, receivable_minor=10_000)).holds
    assert not checks.ledger_agrees(
        facts(book, receivable_minor=10_000 - 62, imbalance_minor=1)
    ).holds


def test_a_refund_gives_its_fee_back_and_a_payout_costs_one() -> None:
    refund = {**charge("r1", 0), "kind": "refund", "status": "SUCCEEDED", "amount": 500, "fee": 3}
    payout = {**charge("o1", 0), "kind": "payout", "status": "SUCCEEDED", "amount": 700, "fee": 20}
    totals = checks.expected_receivables([charge("p102", 1), refund, payout])
    assert totals["card-b"] == (10_000 - 62) - (500 - 3) - (700 + 20)


def test_only_the_planted_difference_may_be_found() -> None:
    report = clearing_pb2.DayReport(differences_count=1)
    found = Close(report=report, differences=[clearing_pb2.Difference(out_ref="p102")], vouchers=[])
    assert checks.differences_are_planted(found, "p102").holds
    assert not checks.differences_are_planted(found, "p103").holds
    assert not checks.differences_are_planted(found, "").holds


def test_a_day_with_a_bill_missing_or_a_voucher_that_does_not_balance_is_not_closed() -> None:
    balanced = clearing_pb2.Voucher(
        lines=[clearing_pb2.VoucherLine(debit_minor=5), clearing_pb2.VoucherLine(credit_minor=5)]
    )
    lopsided = clearing_pb2.Voucher(lines=[clearing_pb2.VoucherLine(debit_minor=5)])
    closed = clearing_pb2.DayReport(closed=True)
    rejected = clearing_pb2.DayReport(
        closed=True, channels=[clearing_pb2.ChannelReport(statement_state="REJECTED")]
    )
    assert checks.day_is_closed(Close(report=closed, differences=[], vouchers=[balanced])).holds
    for report, voucher in ((closed, lopsided), (rejected, balanced)):
        assert not checks.day_is_closed(
            Close(report=report, differences=[], vouchers=[voucher])
        ).holds
