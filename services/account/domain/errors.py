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


class BookMismatch(FiscError):
    """The two accounts are in the books of different tenants."""

    kind = ErrorKind.INVALID
    reason = "BOOK_MISMATCH"


class AccountFrozen(FiscError):
    """The account takes no entries on this side for now."""

    kind = ErrorKind.REJECTED
    reason = "ACCOUNT_FROZEN"


class AccountClosed(FiscError):
    """The account is closed."""

    kind = ErrorKind.REJECTED
    reason = "ACCOUNT_CLOSED"


class AccountNotEmpty(FiscError):
    """Only an account at zero and without holds can be closed."""

    kind = ErrorKind.REJECTED
    reason = "ACCOUNT_NOT_EMPTY"


class BoundsInvalid(FiscError):
    """The ceiling is below the floor, or below zero."""

    kind = ErrorKind.INVALID
    reason = "BOUNDS_INVALID"


class BalanceOutOfBounds(FiscError):
    """The account does not stand within these bounds now."""

    kind = ErrorKind.REJECTED
    reason = "BALANCE_OUT_OF_BOUNDS"


class RequestIdReused(FiscError):
    """Another change was asked under this request_id."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class AmountOutOfRange(FiscError):
    """The amount must be positive and at most 10^15 minor units."""

    kind = ErrorKind.INVALID
    reason = "AMOUNT_OUT_OF_RANGE"


class InvalidEffectiveDate(FiscError):
    """The effective date is not a day of the calendar."""

    kind = ErrorKind.INVALID
    reason = "INVALID_EFFECTIVE_DATE"


class EffectiveDateOutOfWindow(FiscError):
    """The effective date is too far from the booking day."""

    kind = ErrorKind.REJECTED
    reason = "EFFECTIVE_DATE_OUT_OF_WINDOW"


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


class TransferNotFound(FiscError):
    """There is no such transfer to reverse."""

    kind = ErrorKind.NOT_FOUND
    reason = "TRANSFER_NOT_FOUND"


class ReversalDiffers(FiscError):
    """A reversal moves between the same accounts, in the same currency, the other way."""

    kind = ErrorKind.INVALID
    reason = "REVERSAL_DIFFERS"


class ReversalTooLarge(FiscError):
    """Reversals of a transfer never exceed it together."""

    kind = ErrorKind.REJECTED
    reason = "REVERSAL_TOO_LARGE"


class BalancingUnsupported(FiscError):
    """No account of this transfer gives anything that could be counted."""

    kind = ErrorKind.INVALID
    reason = "BALANCING_UNSUPPORTED"


class NothingToMove(FiscError):
    """The account that gives has nothing above what it must keep."""

    kind = ErrorKind.REJECTED
    reason = "NOTHING_TO_MOVE"


class LinkedFailed(FiscError):
    """Another transfer of the chain was refused."""

    kind = ErrorKind.REJECTED
    reason = "LINKED_FAILED"


class InsufficientFunds(FiscError):
    """The account's available money does not cover the amount."""

    kind = ErrorKind.REJECTED
    reason = "INSUFFICIENT_FUNDS"


class CeilingExceeded(FiscError):
    """The account may not hold so much."""

    kind = ErrorKind.REJECTED
    reason = "CEILING_EXCEEDED"


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


class CaptureIdRequired(FiscError):
    """Of several captures of a hold each must be named."""

    kind = ErrorKind.INVALID
    reason = "CAPTURE_ID_REQUIRED"


class CaptureIdReused(FiscError):
    """Another capture of this hold has this name."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "CAPTURE_ID_REUSED"


class TooManyCaptures(FiscError):
    """The hold has been captured as often as one may."""

    kind = ErrorKind.REJECTED
    reason = "TOO_MANY_CAPTURES"


class LostRace(FiscError):
    """Other writers kept booking the same ids; ask again."""

    kind = ErrorKind.CONFLICT
    reason = "LOST_RACE"


class InvalidText(FiscError):
    """A text must not hold the NUL character."""

    kind = ErrorKind.INVALID
    reason = "INVALID_TEXT"


class RealAccountNotFound(FiscError):
    """There is no such real account."""

    kind = ErrorKind.NOT_FOUND
    reason = "REAL_ACCOUNT_NOT_FOUND"


class RealAccountExistsDifferently(FiscError):
    """The real account stands already, with another description."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REAL_ACCOUNT_EXISTS_DIFFERENTLY"


class AccountNumberTaken(FiscError):
    """Another real account has this number."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "ACCOUNT_NUMBER_TAKEN"


class AccountNumberRequired(FiscError):
    """A real account is known by its number."""

    kind = ErrorKind.INVALID
    reason = "ACCOUNT_NUMBER_REQUIRED"


class RealAccountClosed(FiscError):
    """The real account is closed; nothing may be mapped to it."""

    kind = ErrorKind.REJECTED
    reason = "REAL_ACCOUNT_CLOSED"


class RealAccountInUse(FiscError):
    """Virtual accounts are mapped to it, today or later."""

    kind = ErrorKind.REJECTED
    reason = "REAL_ACCOUNT_IN_USE"


class AccountNotMappable(FiscError):
    """An account of this role holds no money that could lie anywhere."""

    kind = ErrorKind.INVALID
    reason = "ACCOUNT_NOT_MAPPABLE"


class CounterpartyInvalid(FiscError):
    """Only a DUE_FROM or DUE_TO account has a counterparty, and it is another company than the owner."""

    kind = ErrorKind.INVALID
    reason = "COUNTERPARTY_INVALID"


class PositionMismatch(FiscError):
    """The accounts are not the two sides of one position."""

    kind = ErrorKind.INVALID
    reason = "POSITION_MISMATCH"


class DayNotClosed(FiscError):
    """The booking day has no closing balances yet."""

    kind = ErrorKind.NOT_FOUND
    reason = "DAY_NOT_CLOSED"


class InvalidDay(FiscError):
    """Not a day of the calendar."""

    kind = ErrorKind.INVALID
    reason = "INVALID_DATE"
