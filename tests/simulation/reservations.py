"""What captures and refunds reserve of their payment, and what becomes of it: the statements of their own that Postgres runs."""

from datetime import datetime
from typing import Any

from services.gateway.domain.capture import Capture
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.refund import Refund
from tests.simulation.database import Database


def can_bear(payment: Payment, order: Capture | Refund) -> bool:
    """Whether so much of a payment can still be taken or given back."""
    amount_minor = order.amount_minor
    if isinstance(order, Refund):
        is_paid = payment.state is PaymentState.SUCCEEDED
        return is_paid and payment.refunded_minor + amount_minor <= payment.captured_minor
    taken_minor = payment.captured_minor + payment.capturing_minor + amount_minor
    is_open = payment.state is PaymentState.AUTHORIZED and not payment.is_captured
    return is_open and taken_minor <= payment.amount_minor


def give_back(database: Database, order: Capture | Refund) -> None:
    """Frees what a follow-up that failed had reserved."""
    payment: Payment = database.rows["payment"][order.payment_id]
    column = reserved_column(order)
    minor = getattr(payment, column) - order.amount_minor
    change_payment(database, payment, order.updated_at, **{column: minor})


def settle_capture(database: Database, order: Capture) -> None:
    """What was in flight is taken; the authorised payment of which no more will be is due at once."""
    payment: Payment = database.rows["payment"][order.payment_id]
    captured_minor = payment.captured_minor + order.amount_minor
    is_captured = payment.is_captured or order.is_final or captured_minor == payment.amount_minor
    is_due = is_captured and payment.state is PaymentState.AUTHORIZED
    change_payment(
        database,
        payment,
        order.updated_at,
        capturing_minor=payment.capturing_minor - order.amount_minor,
        captured_minor=captured_minor,
        is_captured=is_captured,
        next_run_at=order.updated_at if is_due else payment.next_run_at,
    )


def change_payment(database: Database, payment: Payment, now: datetime, **changes: Any) -> None:
    """As one statement of its own does."""
    version = payment.version + 1
    database.change("payment", payment.payment_id, version=version, updated_at=now, **changes)


def reserved_column(order: Capture | Refund) -> str:
    """Where a payment notes what such orders have reserved."""
    return "refunded_minor" if isinstance(order, Refund) else "capturing_minor"
