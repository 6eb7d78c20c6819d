"""Every reason the gateway gives for refusing, on one screen. The channels' own errors stand in channel.py."""

from libs.errors import ErrorKind, FiscError


class ApiKeyInvalid(FiscError):
    """The API key is missing, unknown or revoked."""

    kind = ErrorKind.UNAUTHENTICATED
    reason = "API_KEY_INVALID"


class OperatorTokenInvalid(FiscError):
    """This service is for operators; the token is missing or wrong."""

    kind = ErrorKind.UNAUTHENTICATED
    reason = "OPERATOR_TOKEN_INVALID"


class RequestIdReused(FiscError):
    """This request_id was used before with another body."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class UnknownCurrency(FiscError):
    """The currency is not an ISO 4217 code in force."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_CURRENCY"


class CurrencyNotEnabled(FiscError):
    """The merchant does not take this currency."""

    kind = ErrorKind.REJECTED
    reason = "CURRENCY_NOT_ENABLED"


class PaymentNotFound(FiscError):
    """The merchant has no such payment."""

    kind = ErrorKind.NOT_FOUND
    reason = "PAYMENT_NOT_FOUND"


class RefundNotFound(FiscError):
    """The merchant has no such refund."""

    kind = ErrorKind.NOT_FOUND
    reason = "REFUND_NOT_FOUND"


class PayoutNotFound(FiscError):
    """The merchant has no such payout."""

    kind = ErrorKind.NOT_FOUND
    reason = "PAYOUT_NOT_FOUND"


class SubjectNotFound(FiscError):
    """There is no payment, refund or payout of this id."""

    kind = ErrorKind.NOT_FOUND
    reason = "SUBJECT_NOT_FOUND"


class MerchantNotFound(FiscError):
    """There is no such merchant."""

    kind = ErrorKind.NOT_FOUND
    reason = "MERCHANT_NOT_FOUND"


class MerchantExistsDifferently(FiscError):
    """A merchant of this id is registered otherwise."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "MERCHANT_EXISTS_DIFFERENTLY"


class ApiKeyNotFound(FiscError):
    """There is no such API key."""

    kind = ErrorKind.NOT_FOUND
    reason = "API_KEY_NOT_FOUND"


class ChannelNotFound(FiscError):
    """The gateway has no account at this channel."""

    kind = ErrorKind.NOT_FOUND
    reason = "CHANNEL_ACCOUNT_NOT_FOUND"


class PaymentNotCancelable(FiscError):
    """The payment has ended already."""

    kind = ErrorKind.REJECTED
    reason = "PAYMENT_NOT_CANCELABLE"


class PaymentNotRefundable(FiscError):
    """Only a succeeded payment can be refunded."""

    kind = ErrorKind.REJECTED
    reason = "PAYMENT_NOT_REFUNDABLE"


class RefundTooLarge(FiscError):
    """All refunds together would exceed the payment."""

    kind = ErrorKind.REJECTED
    reason = "REFUND_TOO_LARGE"


class RefundCurrencyMismatch(FiscError):
    """A refund is in the currency of its payment."""

    kind = ErrorKind.INVALID
    reason = "REFUND_CURRENCY_MISMATCH"


class BusinessDateInvalid(FiscError):
    """The business date is not a day of the calendar."""

    kind = ErrorKind.INVALID
    reason = "BUSINESS_DATE_INVALID"


class PostingRefused(FiscError):
    """The ledger refused a posting that must be booked; a person must look."""

    reason = "POSTING_REFUSED"


class StaleWrite(FiscError):
    """Somebody else has moved this row meanwhile; nothing was written."""

    kind = ErrorKind.CONFLICT
    reason = "STALE_WRITE"
