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


class OperatorKeyRequired(FiscError):
    """This needs a person's own operator key: the platform's token is nobody."""

    kind = ErrorKind.DENIED
    reason = "OPERATOR_KEY_REQUIRED"


class PlatformTokenRequired(FiscError):
    """Operators are registered and revoked with the platform's token only."""

    kind = ErrorKind.DENIED
    reason = "PLATFORM_TOKEN_REQUIRED"


class OperatorExists(FiscError):
    """This person has a key already; revoke it before making another."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "OPERATOR_EXISTS"


class OperatorNotFound(FiscError):
    """No such person has ever had a key."""

    kind = ErrorKind.NOT_FOUND
    reason = "OPERATOR_NOT_FOUND"


class RequestIdReused(FiscError):
    """This request_id was used before with another body."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class RequestIdRepeated(FiscError):
    """This request_id came before in the same batch."""

    kind = ErrorKind.INVALID
    reason = "REQUEST_ID_REPEATED"


class UnknownCurrency(FiscError):
    """The currency is not an ISO 4217 code in force."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_CURRENCY"


class CurrencyNotEnabled(FiscError):
    """The merchant does not take this currency."""

    kind = ErrorKind.REJECTED
    reason = "CURRENCY_NOT_ENABLED"


class MethodNotForPayments(FiscError):
    """This payment method is for payouts only."""

    kind = ErrorKind.INVALID
    reason = "METHOD_NOT_FOR_PAYMENTS"


class MethodNotForPayouts(FiscError):
    """No payee is paid by this payment method."""

    kind = ErrorKind.INVALID
    reason = "METHOD_NOT_FOR_PAYOUTS"


class PaymentInputMissing(FiscError):
    """The payment method needs this field."""

    kind = ErrorKind.INVALID
    reason = "PAYMENT_INPUT_MISSING"


class PaymentInputUnexpected(FiscError):
    """The payment method has no use for this field, and it is too delicate to be sent for nothing."""

    kind = ErrorKind.INVALID
    reason = "PAYMENT_INPUT_UNEXPECTED"


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
    """There is no payment, capture, refund or payout of this id."""

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


class PaymentNotAuthorized(FiscError):
    """Only an authorised payment can be captured or released."""

    kind = ErrorKind.REJECTED
    reason = "PAYMENT_NOT_AUTHORIZED"


class CaptureInFlight(FiscError):
    """A capture is under way; what it leaves can be released once it has ended."""

    kind = ErrorKind.CONFLICT
    reason = "CAPTURE_IN_FLIGHT"


class CaptureExceedsAuthorization(FiscError):
    """All captures together would exceed what the payment has reserved."""

    kind = ErrorKind.REJECTED
    reason = "CAPTURE_EXCEEDS_AUTHORIZATION"


class CaptureCurrencyMismatch(FiscError):
    """A capture is in the currency of its payment."""

    kind = ErrorKind.INVALID
    reason = "CAPTURE_CURRENCY_MISMATCH"


class CaptureNotFound(FiscError):
    """The merchant has no such capture."""

    kind = ErrorKind.NOT_FOUND
    reason = "CAPTURE_NOT_FOUND"


class MethodNotOffered(FiscError):
    """The channel's provider does not offer this payment method."""

    kind = ErrorKind.INVALID
    reason = "METHOD_NOT_OFFERED"


class RefundUnsupported(FiscError):
    """The channel that took the payment gives nothing back, or only all of it."""

    kind = ErrorKind.REJECTED
    reason = "REFUND_UNSUPPORTED"


class CaptureUnsupported(FiscError):
    """The channel takes what it has reserved as a whole, or only once."""

    kind = ErrorKind.REJECTED
    reason = "CAPTURE_UNSUPPORTED"


class BusinessDateInvalid(FiscError):
    """The business date is not a day of the calendar."""

    kind = ErrorKind.INVALID
    reason = "BUSINESS_DATE_INVALID"


class PostingRefused(FiscError):
    """The ledger refused a posting that must be booked; a person must look."""

    reason = "POSTING_REFUSED"


class ForceRefused(FiscError):
    """The flow does not allow ending it in this state from where it stands."""

    kind = ErrorKind.REJECTED
    reason = "FORCE_REFUSED"


class ForceNotFound(FiscError):
    """There is no such proposal."""

    kind = ErrorKind.NOT_FOUND
    reason = "FORCE_NOT_FOUND"


class CheckerIsMaker(FiscError):
    """Who has proposed it cannot decide it."""

    kind = ErrorKind.DENIED
    reason = "CHECKER_IS_MAKER"


class ForceAlreadyDecided(FiscError):
    """The proposal was decided before."""

    kind = ErrorKind.REJECTED
    reason = "FORCE_ALREADY_DECIDED"


class UnknownFlow(FiscError):
    """There is no such flow."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_FLOW"


class SagaEnded(FiscError):
    """It has ended; there is nothing to try again."""

    kind = ErrorKind.REJECTED
    reason = "SAGA_ENDED"


class PayoutFileNotFound(FiscError):
    """The merchant has no such payout file."""

    kind = ErrorKind.NOT_FOUND
    reason = "PAYOUT_FILE_NOT_FOUND"


class PayoutFileRepeated(FiscError):
    """The same content was sent before under another request_id; say so if it is meant."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "PAYOUT_FILE_REPEATED"


class TooManyPayoutFiles(FiscError):
    """Too many files of this merchant have not ended."""

    kind = ErrorKind.EXHAUSTED
    reason = "TOO_MANY_PAYOUT_FILES"


class UploadOffsetMismatch(FiscError):
    """A chunk begins where the last one ended and stays inside the file; go on from received_bytes."""

    kind = ErrorKind.REJECTED
    reason = "UPLOAD_OFFSET_MISMATCH"


class ChunkTooSmall(FiscError):
    """Only the last chunk may be this small."""

    kind = ErrorKind.INVALID
    reason = "CHUNK_TOO_SMALL"


class ChunkDiffers(FiscError):
    """Other content was received at this offset."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "CHUNK_DIFFERS"


class PayoutFileNotWaiting(FiscError):
    """The file is not in a state that allows this."""

    kind = ErrorKind.REJECTED
    reason = "PAYOUT_FILE_NOT_WAITING"


class PayoutFileEnded(FiscError):
    """The file has ended, or is being canceled."""

    kind = ErrorKind.REJECTED
    reason = "PAYOUT_FILE_ENDED"
