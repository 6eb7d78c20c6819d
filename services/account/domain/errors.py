"""Every reason this service gives for saying no."""

from libs.errors import ErrorKind, FiscError


class AccountNotFound(FiscError):
    """There is no such account."""

    kind = ErrorKind.NOT_FOUND
    reason = "ACCOUNT_NOT_FOUND"


class AccountExistsDifferently(FiscError):
    """The account stands already, with another description."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "ACCOUNT_EXISTS_DIFFERENTLY"


class ParentNotFound(FiscError):
    """The account it is to roll up to does not exist."""

    kind = ErrorKind.NOT_FOUND
    reason = "PARENT_NOT_FOUND"


class UnknownCurrency(FiscError):
    """Not a currency of ISO 4217 that has a minor unit."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_CURRENCY"


class UnknownRole(FiscError):
    """Not a role an account can have."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_ROLE"


class CurrencyMismatch(FiscError):
    """The account is kept in another currency."""

    kind = ErrorKind.INVALID
    reason = "CURRENCY_MISMATCH"


class AmountOutOfRange(FiscError):
    """The amount must be positive and at most 10^15 minor units."""

    kind = ErrorKind.INVALID
    reason = "AMOUNT_OUT_OF_RANGE"


class InvalidEffectiveDate(FiscError):
    """The effective date is not a day of the calendar."""

    kind = ErrorKind.INVALID
    reason = "INVALID_EFFECTIVE_DATE"


class SameAccount(FiscError):
    """Debit and credit are the same account."""

    kind = ErrorKind.INVALID
    reason = "SAME_ACCOUNT"


class ChainOpen(FiscError):
    """The last transfer of a batch must not be linked."""

    kind = ErrorKind.INVALID
    reason = "CHAIN_OPEN"


class TransferIdReused(FiscError):
    """Another transfer is booked under this id."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "TRANSFER_ID_REUSED"


class LinkedFailed(FiscError):
    """Another transfer of the chain was refused."""

    kind = ErrorKind.REJECTED
    reason = "LINKED_FAILED"


class InsufficientFunds(FiscError):
    """The account's available money does not cover the amount."""

    kind = ErrorKind.REJECTED
    reason = "INSUFFICIENT_FUNDS"


class BalanceOverflow(FiscError):
    """The account has moved more than it can count."""

    kind = ErrorKind.REJECTED
    reason = "BALANCE_OVERFLOW"


class AccountNotHoldable(FiscError):
    """Holds need a credit-normal account to take the money from."""

    kind = ErrorKind.INVALID
    reason = "ACCOUNT_NOT_HOLDABLE"


class HoldNotFound(FiscError):
    """There is no such hold."""

    kind = ErrorKind.NOT_FOUND
    reason = "HOLD_NOT_FOUND"


class HoldIdReused(FiscError):
    """Another hold stands under this id."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "HOLD_ID_REUSED"


class HoldVoided(FiscError):
    """The hold has been voided."""

    kind = ErrorKind.REJECTED
    reason = "HOLD_VOIDED"


class HoldExpired(FiscError):
    """The hold's time was up."""

    kind = ErrorKind.REJECTED
    reason = "HOLD_EXPIRED"


class HoldCaptured(FiscError):
    """The hold has been captured, with this or another amount."""

    kind = ErrorKind.REJECTED
    reason = "HOLD_CAPTURED"


class CaptureTooLarge(FiscError):
    """More is asked than the hold set aside."""

    kind = ErrorKind.INVALID
    reason = "CAPTURE_TOO_LARGE"


class LostRace(FiscError):
    """Other writers kept booking the same ids; ask again."""

    kind = ErrorKind.CONFLICT
    reason = "LOST_RACE"


class InvalidText(FiscError):
    """A text must not hold the NUL character."""

    kind = ErrorKind.INVALID
    reason = "INVALID_TEXT"
