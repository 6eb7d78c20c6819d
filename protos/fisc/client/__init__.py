"""The typed async client of Fisc: take payments, refund, pay out.

    async with FiscClient("127.0.0.1:7400", api_key=key) as fisc:
        payment = await fisc.create_payment(amount=("CNY", 1999), method="CARD", request_id="order-1")
        payment = await fisc.wait_for_payment(payment.payment_id, timeout_s=60)

Arguments are plain Python; results are the messages of `fisc.gateway.v1`, so that every field keeps
the name and the comment it has in the contract, and a field added later is there without a release
of this client. A declined payment is a result, not an error: look at `payment.state`. Errors are
`FiscClientError` and its kinds; each says the request_id to come back with.
"""

from fisc.client.client import PAYMENT_ENDED, FiscClient, has_ended
from fisc.client.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    Denied,
    Exhausted,
    FiscClientError,
    InvalidRequest,
    NotFound,
    Rejected,
    ServerError,
    Unauthenticated,
    Unavailable,
)
from fisc.client.payout_files import PayoutFiles
from fisc.client.words import (
    Amount,
    MethodName,
    PaymentStateName,
    RoutingName,
    new_request_id,
    payment_request,
)
from fisc.common.v1.money_pb2 import Money
from fisc.gateway.v1.bulk_pb2 import PayoutFile, PayoutFileRow
from fisc.gateway.v1.payment_pb2 import Payment, Payout, Refund

__all__ = [
    "PAYMENT_ENDED",
    "AlreadyExists",
    "Amount",
    "Conflict",
    "DeadlineExceeded",
    "Denied",
    "Exhausted",
    "FiscClient",
    "FiscClientError",
    "InvalidRequest",
    "MethodName",
    "Money",
    "NotFound",
    "Payment",
    "PaymentStateName",
    "Payout",
    "PayoutFile",
    "PayoutFileRow",
    "PayoutFiles",
    "Refund",
    "Rejected",
    "RoutingName",
    "ServerError",
    "Unauthenticated",
    "Unavailable",
    "has_ended",
    "new_request_id",
    "payment_request",
]
