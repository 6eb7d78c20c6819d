"""Every refusal of this service, on one screen."""

from libs.errors import ErrorKind, FiscError


class UnknownCurrency(FiscError):
    """The currency is not a known ISO 4217 code."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_CURRENCY"


class MethodRequired(FiscError):
    """A payment needs its payment method."""

    kind = ErrorKind.INVALID
    reason = "METHOD_REQUIRED"


class BadAddress(FiscError):
    """The value is not an IPv4 or IPv6 address."""

    kind = ErrorKind.INVALID
    reason = "BAD_IP_ADDRESS"


class BadCountry(FiscError):
    """The value is not a two-letter country code."""

    kind = ErrorKind.INVALID
    reason = "BAD_COUNTRY"


class BadText(FiscError):
    """A text holds a NUL character."""

    kind = ErrorKind.INVALID
    reason = "BAD_TEXT"


class EvaluationIdReused(FiscError):
    """This evaluation_id was used before, for another operation."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "EVALUATION_ID_REUSED"


class RequestIdReused(FiscError):
    """This request_id was used before, with another content."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class RuleIdReserved(FiscError):
    """The service uses this rule_id itself."""

    kind = ErrorKind.INVALID
    reason = "RULE_ID_RESERVED"


class CurrencyRequired(FiscError):
    """A rule that bounds amounts needs a currency."""

    kind = ErrorKind.INVALID
    reason = "CURRENCY_REQUIRED"


class BoundRequired(FiscError):
    """A day limit needs a bound of the amount, of the count, or both."""

    kind = ErrorKind.INVALID
    reason = "BOUND_REQUIRED"


class EntryExpired(FiscError):
    """The entry would have expired already."""

    kind = ErrorKind.INVALID
    reason = "ENTRY_EXPIRED"


class EntryNotFound(FiscError):
    """There is no such list entry."""

    kind = ErrorKind.NOT_FOUND
    reason = "LIST_ENTRY_NOT_FOUND"


class CaseNotFound(FiscError):
    """There is no such case."""

    kind = ErrorKind.NOT_FOUND
    reason = "CASE_NOT_FOUND"


class CaseAlreadyDecided(FiscError):
    """The case was decided otherwise before."""

    kind = ErrorKind.REJECTED
    reason = "CASE_ALREADY_DECIDED"


class ActorRequired(FiscError):
    """A decision needs the name of who decides."""

    kind = ErrorKind.INVALID
    reason = "ACTOR_REQUIRED"


class DecisionContended(FiscError):
    """The same evaluations are being judged by others; ask again."""

    kind = ErrorKind.CONFLICT
    reason = "DECISION_CONTENDED"


class CountersUnavailable(FiscError):
    """The velocity counters do not answer."""

    kind = ErrorKind.UNAVAILABLE
    reason = "COUNTERS_UNAVAILABLE"
