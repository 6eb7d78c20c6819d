"""Bugs in what flows decide, and in what carries it out."""

import itertools
import random
from dataclasses import replace
from datetime import datetime
from typing import Any

from fisc.account.v1 import account_pb2
from fisc.gateway.v1 import payment_pb2
from libs.log import get_logger
from services.gateway.channels.directory import GuardedConnector
from services.gateway.domain import authorization, payment_flow, payout, saga
from services.gateway.domain import payment as payments
from services.gateway.domain import refund as refunds
from services.gateway.domain.channel import (
    ChargeOrder,
    Outcome,
    OutcomeKind,
    RefundOrder,
    SentOrder,
)
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep
from services.gateway.domain.payout import Payout, PayoutStep
from services.gateway.domain.refund import RefundStep
from services.gateway.domain.saga import Answered, Attempt, OpenCase, Signal, Step
from services.gateway.usecases import bills, performers
from services.gateway.usecases.performers import PayoutPerformer
from services.gateway.workers import facts
from tests.simulation import database, reservations
from tests.simulation.bug import Patch, bug


@bug
def an_unknown_outcome_fails_the_payment(patch: Patch) -> None:
    def fail(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
        return payments.ended(payment, attempt, PaymentState.FAILED, "TIMEOUT", now)

    patch(payment_flow, "_unknown", fail)


@bug
def an_unknown_outcome_goes_to_the_next_channel(patch: Patch) -> None:
    def fail_over(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
        return payments.send_next(payment, attempt, "TIMEOUT", now)

    patch(payment_flow, "_unknown", fail_over)


@bug
def a_number_not_found_counts_as_declined(patch: Patch) -> None:
    right = payment_flow._answered

    def decide(
        payment: Payment, attempt: Attempt | None, signal: Answered, now: datetime
    ) -> PaymentStep | None:
        if signal.outcome.kind is OutcomeKind.NOT_FOUND:
            signal = replace(signal, outcome=Outcome(kind=OutcomeKind.DECLINED_SOFT))
        return right(payment, attempt, signal, now)

    patch(payment_flow, "_answered", decide)


@bug
def a_resent_refund_gets_another_number(patch: Patch) -> None:
    sent: set[str] = set()

    def order(**fields: Any) -> RefundOrder:
        made = RefundOrder(**fields)
        if made.out_ref not in sent:
            sent.add(made.out_ref)
            return made
        return replace(made, out_ref=f"{made.out_ref}x{random.getrandbits(32):08x}")

    patch(performers, "RefundOrder", order)


@bug
def refunds_reserve_nothing(patch: Patch) -> None:
    right = reservations.can_bear

    def can_bear(payment: Payment, order: Any) -> bool:
        if isinstance(order, refunds.Refund):
            return payment.state is PaymentState.SUCCEEDED
        return right(payment, order)

    patch(reservations, "can_bear", can_bear)
    patch(database, "check_payment", lambda row: None)


@bug
def a_failed_refund_keeps_its_reservation(patch: Patch) -> None:
    patch(reservations, "give_back", lambda database, order: None)


@bug
def a_payout_leaves_without_its_hold(patch: Patch) -> None:
    async def hold(self: PayoutPerformer, payout: Payout) -> Signal:
        return saga.HoldPlaced()

    patch(PayoutPerformer, "_hold", hold)


@bug
def a_repeated_push_is_booked_again(patch: Patch) -> None:
    right, numbers = facts.collect, itertools.count()
    booked: set[str] = set()

    def collect(payment: payment_pb2.Payment) -> account_pb2.Transfer:
        transfer = right(payment)
        if transfer.transfer_id in booked:
            transfer.transfer_id += f":{next(numbers)}"
        booked.add(transfer.transfer_id)
        return transfer

    patch(facts, "collect", collect)


@bug
def the_amount_of_a_success_is_not_checked(patch: Patch) -> None:
    patch(saga, "amounts_agree", lambda outcome, amount_minor, currency: True)


@bug
def a_late_success_is_ignored(patch: Patch) -> None:
    patch(payment_flow, "_late_success", lambda payment, attempt, outcome, now: None)


@bug
def a_late_success_is_noted_and_not_refunded(patch: Patch) -> None:
    right = payment_flow._late_success

    def note(payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime) -> PaymentStep:
        step = right(payment, attempt, outcome, now)
        return replace(step, beside=tuple(s for s in step.beside if not isinstance(s, Step)))

    patch(payment_flow, "_late_success", note)


@bug
def a_late_success_heard_twice_is_refunded_twice(patch: Patch) -> None:
    right, numbers = refunds.of_late_success, itertools.count(1)

    def born(attempt: Attempt, **terms: Any) -> tuple[OpenCase, RefundStep]:
        case, step = right(attempt, **terms)
        number = f"{next(numbers):03d}"
        refund = replace(
            step.subject,
            refund_id=f"{step.subject.refund_id}x{number}",
            request_id=f"{step.subject.request_id}:{number}",
        )
        (first,) = step.attempts
        again = replace(first, subject_id=refund.refund_id, out_ref=f"{first.out_ref}{number}")
        case = replace(case, subject_id=refund.refund_id)
        return case, replace(step, subject=refund, attempts=(again,))

    def earlier(payment: Payment, signal: Answered, now: datetime) -> PaymentStep | None:
        if signal.attempt is None or signal.outcome.kind is not OutcomeKind.SUCCEEDED:
            return None
        told = saga.record(signal.attempt, signal, now)
        return payment_flow._late_success(payment, told, signal.outcome, now)

    paid = payment_flow._paid

    def always_news(*arguments: Any, is_known: bool) -> PaymentStep | None:
        return paid(*arguments, is_known=False)

    patch(refunds, "of_late_success", born)
    patch(payment_flow, "_answered_earlier", earlier)
    patch(payment_flow, "_paid", always_news)


@bug
def a_charge_that_was_cut_off_is_sent_again_elsewhere(patch: Patch) -> None:
    right = GuardedConnector.charge

    async def charge(self: GuardedConnector, order: ChargeOrder) -> Outcome:
        outcome = await right(self, order)
        if outcome.code == "NO_ANSWER":
            return Outcome(kind=OutcomeKind.DECLINED_SOFT, code="NO_ANSWER")
        return outcome

    patch(GuardedConnector, "charge", charge)


@bug
def an_open_breaker_answers_queries_with_a_decline(patch: Patch) -> None:
    async def query(self: GuardedConnector, order: SentOrder) -> Outcome:
        return await self._guard("query", lambda: self._inner.query(order), is_order=True)

    patch(GuardedConnector, "query", query)


@bug
def a_capture_is_counted_twice(patch: Patch) -> None:
    right = reservations.settle_capture

    def settle(database: database.Database, order: Any) -> None:
        right(database, order)
        payment = database.rows["payment"][order.payment_id]
        free_minor = payment.amount_minor - payment.captured_minor - payment.capturing_minor
        twice_minor = payment.captured_minor + min(order.amount_minor, free_minor)
        reservations.change_payment(database, payment, order.updated_at, captured_minor=twice_minor)

    patch(reservations, "settle_capture", settle)


@bug
def a_void_does_not_wait_for_the_capture_in_flight(patch: Patch) -> None:
    cancel, released = payment_flow._cancel, authorization.released

    def cancel_at_once(
        payment: Payment, attempt: Attempt | None, now: datetime
    ) -> PaymentStep | None:
        return cancel(replace(payment, capturing_minor=0), attempt, now)

    def release_at_once(
        payment: Payment, attempt: Attempt | None, why: str, now: datetime
    ) -> PaymentStep:
        return released(replace(payment, capturing_minor=0), attempt, why, now)

    patch(payment_flow, "_cancel", cancel_at_once)
    patch(authorization, "released", release_at_once)


@bug
def what_is_reserved_after_the_end_stays_so(patch: Patch) -> None:
    patch(authorization, "answered_after_end", lambda *arguments: None)


@bug
def a_return_is_ignored(patch: Patch) -> None:
    right = payout._answered_after_success

    def decide(
        subject: Payout, attempt: Attempt, signal: Answered, now: datetime
    ) -> PayoutStep | None:
        kept = replace(signal, outcome=replace(signal.outcome, kind=OutcomeKind.SUCCEEDED))
        return right(subject, attempt, kept, now)

    patch(payout, "_answered_after_success", decide)


@bug
def a_bills_silence_settles_refunds_and_payouts_too(patch: Patch) -> None:
    everything = frozenset({"PAYMENT", "CAPTURE", "REFUND", "PAYOUT"})
    patch(bills, "_SETTLED_BY_ABSENCE", everything)


@bug
def a_payers_token_is_logged(patch: Patch) -> None:
    right = GuardedConnector.charge

    async def charge(self: GuardedConnector, order: ChargeOrder) -> Outcome:
        get_logger().info("charging", payer=order.payer_token)
        return await right(self, order)

    patch(GuardedConnector, "charge", charge)
