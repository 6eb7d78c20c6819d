"""Carries out what the flows command: the only place where a saga touches the outside."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from libs import crashpoints
from libs.clock import Clock
from libs.errors import ErrorKind, FiscError
from libs.saga import flow
from services.gateway.domain import merchant, saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.channel import (
    CaptureOrder,
    ChannelMisconfigured,
    ChannelUnsupported,
    ChargeOrder,
    Connector,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)
from services.gateway.domain.errors import ChannelNotFound
from services.gateway.domain.neighbours import HoldOrder
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Answered, Attempt, Command, Signal
from services.gateway.store.sagas import SagaTable
from services.gateway.usecases.ports import Channels, Ledger, Risk

# Channels refuse orders that expire at once.
CHANNEL_EXPIRY_MIN = timedelta(minutes=1)


class PaymentPerformer:
    """Charges, asks and closes."""

    def __init__(self, channels: Channels, risk: Risk, clock: Clock, notify_base_url: str) -> None:
        self._channels = channels
        self._risk = risk
        self._clock = clock
        self._notify_base_url = notify_base_url

    async def __call__(
        self, command: flow.Command, subject: Payment, attempt: Attempt | None
    ) -> Signal:
        if command is Command.REVIEW:
            return await _ask_risk(self._risk, subject.case_id)
        assert attempt is not None  # noqa: S101 - only REVIEW comes without one
        match command:
            case Command.ORDER:
                expires_at = max(subject.expires_at, self._clock.now() + CHANNEL_EXPIRY_MIN)
                order = ChargeOrder(
                    out_ref=attempt.out_ref,
                    sent_at=attempt.sent_at,
                    amount_minor=subject.amount_minor,
                    currency=subject.currency,
                    method=subject.method,
                    description=subject.description or subject.order_ref or subject.payment_id,
                    notify_url=f"{self._notify_base_url}/callbacks/{attempt.channel_id}",
                    expires_at=expires_at,
                    return_url=subject.return_url,
                    payer_token=subject.payer_token,
                    auth_code=subject.auth_code,
                    wallet_user_id=subject.wallet_user_id,
                    payer_ip=subject.payer_ip,
                    bank_code=subject.bank_code,
                    payer_account_id=subject.payer_account_id,
                    capture_later=subject.capture_later,
                )
                return await _order(self._channels, attempt, lambda to: to.charge(order))
            case Command.QUERY:
                sent = _sent(subject, attempt)
                return await _ask(self._channels, attempt, lambda to: to.query(sent))
            case Command.CLOSE:
                crashpoints.reach("K13")
                sent = _sent(subject, attempt)
                return await _ask(self._channels, attempt, lambda to: to.close(sent))
            case _:
                raise AssertionError(f"a payment knows no {command}")


class CapturePerformer:
    """Captures and asks."""

    def __init__(
        self, channels: Channels, payments: SagaTable[Payment], notify_base_url: str
    ) -> None:
        self._channels = channels
        self._payments = payments
        self._notify_base_url = notify_base_url

    async def __call__(
        self, command: flow.Command, subject: Capture, attempt: Attempt | None
    ) -> Signal:
        assert attempt is not None  # noqa: S101 - a capture is born with its attempt
        payment = await _payment_of(self._payments, subject)
        if command is Command.QUERY:
            sent = _sent(subject, attempt, payment)
            return await _ask(self._channels, attempt, lambda to: to.query_capture(sent))
        order = CaptureOrder(
            out_ref=attempt.out_ref,
            sent_at=attempt.sent_at,
            payment=payment,
            amount_minor=subject.amount_minor,
            currency=subject.currency,
            is_final=subject.is_final,
            notify_url=f"{self._notify_base_url}/callbacks/{attempt.channel_id}",
        )
        return await _order(self._channels, attempt, lambda to: to.capture(order))


class RefundPerformer:
    """Refunds and asks."""

    def __init__(
        self, channels: Channels, payments: SagaTable[Payment], notify_base_url: str
    ) -> None:
        self._channels = channels
        self._payments = payments
        self._notify_base_url = notify_base_url

    async def __call__(
        self, command: flow.Command, subject: Refund, attempt: Attempt | None
    ) -> Signal:
        assert attempt is not None  # noqa: S101 - a refund is born with its attempt
        payment = await _payment_of(self._payments, subject)
        if command is Command.QUERY:
            sent = _sent(subject, attempt, payment)
            return await _ask(self._channels, attempt, lambda to: to.query_refund(sent))
        order = RefundOrder(
            out_ref=attempt.out_ref,
            sent_at=attempt.sent_at,
            payment=payment,
            amount_minor=subject.amount_minor,
            currency=subject.currency,
            reason=subject.note,
            notify_url=f"{self._notify_base_url}/callbacks/{attempt.channel_id}",
        )
        return await _order(self._channels, attempt, lambda to: to.refund(order))


class PayoutPerformer:
    """Holds, pays out and asks."""

    def __init__(
        self, channels: Channels, risk: Risk, ledger: Ledger, notify_base_url: str
    ) -> None:
        self._channels = channels
        self._risk = risk
        self._ledger = ledger
        self._notify_base_url = notify_base_url

    async def __call__(
        self, command: flow.Command, subject: Payout, attempt: Attempt | None
    ) -> Signal:
        if command is Command.REVIEW:
            return await _ask_risk(self._risk, subject.case_id)
        if command is Command.HOLD:
            return await self._hold(subject)
        assert attempt is not None  # noqa: S101 - the others are about one
        if command is Command.QUERY:
            sent = _sent(subject, attempt)
            return await _ask(self._channels, attempt, lambda to: to.query_payout(sent))
        order = PayoutOrder(
            out_ref=attempt.out_ref,
            sent_at=attempt.sent_at,
            method=subject.method,
            amount_minor=subject.amount_minor,
            currency=subject.currency,
            payee_account=subject.payee_account,
            payee_name=subject.payee_name,
            payee_bank_code=subject.payee_bank_code,
            description=subject.description,
            notify_url=f"{self._notify_base_url}/callbacks/{attempt.channel_id}",
        )
        return await _order(self._channels, attempt, lambda to: to.payout(order))

    async def _hold(self, payout: Payout) -> Signal:
        crashpoints.reach("K3")
        try:
            refusal = await self._ledger.place_hold(
                HoldOrder(
                    hold_id=payout.payout_id,
                    debit_account_id=merchant.available_account(
                        payout.merchant_id, payout.currency
                    ),
                    credit_account_id=merchant.payout_transit_account(payout.currency),
                    amount_minor=payout.amount_minor,
                    currency=payout.currency,
                    reference=payout.payout_id,
                )
            )
        except FiscError:
            return saga.HoldUnknown()
        crashpoints.reach("K5")
        return saga.HoldRefused(reason=refusal) if refusal else saga.HoldPlaced()


def _sent(
    subject: Payment | Capture | Refund | Payout,
    attempt: Attempt,
    payment: SentOrder | None = None,
) -> SentOrder:
    """How the channel may know again what was sent; captures and refunds have their payment's method."""
    method = subject.method if isinstance(subject, Payment | Payout) else ""
    return SentOrder(
        out_ref=attempt.out_ref,
        method=method if payment is None else payment.method,
        amount_minor=subject.amount_minor,
        currency=subject.currency,
        sent_at=attempt.sent_at,
        provider_ref=attempt.provider_ref,
        payment=payment,
    )


async def _payment_of(payments: SagaTable[Payment], order: Capture | Refund) -> SentOrder:
    loaded = await payments.load(order.payment_id)
    assert loaded is not None  # noqa: S101 - rows are never deleted
    payment, attempts = loaded
    charged = next(each for each in attempts if each.out_ref == order.payment_out_ref)
    return _sent(payment, charged)


Call: TypeAlias = Callable[[Connector], Awaitable[Outcome]]


async def _order(channels: Channels, attempt: Attempt, call: Call) -> Signal:
    crashpoints.reach("K6")
    started_s = time.perf_counter()
    outcome = await _outcome(channels, attempt, call, if_unsendable=OutcomeKind.DECLINED_SOFT)
    latency_ms = int((time.perf_counter() - started_s) * 1000)
    if outcome.kind is OutcomeKind.UNKNOWN:
        crashpoints.reach("K8")
    return Answered(
        outcome=outcome, attempt_number=attempt.number, latency_ms=latency_ms, attempt=attempt
    )


async def _ask(channels: Channels, attempt: Attempt, call: Call) -> Signal:
    outcome = await _outcome(channels, attempt, call, if_unsendable=OutcomeKind.UNKNOWN)
    return Answered(outcome=outcome, attempt_number=attempt.number, attempt=attempt)


async def _outcome(
    channels: Channels, attempt: Attempt, call: Call, *, if_unsendable: OutcomeKind
) -> Outcome:
    """The channel's word. What certainly never left us is a decline of an order, and no word on a question."""
    try:
        connector = await channels.connector(attempt.channel_id)
        outcome = await call(connector)
    except (ChannelNotFound, ChannelMisconfigured, ChannelUnsupported) as error:
        return Outcome(kind=if_unsendable, code=error.reason, message=error.message)
    crashpoints.reach("K7")
    return outcome


async def _ask_risk(risk: Risk, case_id: str) -> Signal:
    try:
        state = await risk.case_state(case_id)
    except FiscError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return saga.Rejected()
        return saga.StillOpen()
    return {"APPROVED": saga.Approved(), "REJECTED": saga.Rejected()}.get(state, saga.StillOpen())
