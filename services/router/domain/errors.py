"""Every reason for which the router refuses something."""

from libs.errors import ErrorKind, FiscError


class NoChannel(FiscError):
    """No channel can take this operation."""

    kind = ErrorKind.REJECTED
    reason = "NO_CHANNEL"


class OperationNotRoutable(FiscError):
    """Only payments and payouts are routed; a refund goes where its payment went."""

    kind = ErrorKind.INVALID
    reason = "OPERATION_NOT_ROUTABLE"


class UnknownCurrency(FiscError):
    """This is not a currency of ISO 4217."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_CURRENCY"


class RouteKeyReused(FiscError):
    """This route_key already belongs to a different operation."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "ROUTE_KEY_REUSED"


class DecisionNotFound(FiscError):
    """There is no decision with this route_key."""

    kind = ErrorKind.NOT_FOUND
    reason = "DECISION_NOT_FOUND"


class Contended(FiscError):
    """Others keep recording the same at the same time; ask again."""

    kind = ErrorKind.CONFLICT
    reason = "CONTENDED"


class ChannelNotFound(FiscError):
    """There is no channel with this id."""

    kind = ErrorKind.NOT_FOUND
    reason = "CHANNEL_NOT_FOUND"


class InvalidChannel(FiscError):
    """This description of a channel contradicts itself."""

    kind = ErrorKind.INVALID
    reason = "INVALID_CHANNEL"


class EtagMismatch(FiscError):
    """The channel has changed since it was read; read it again."""

    kind = ErrorKind.CONFLICT
    reason = "ETAG_MISMATCH"


class RequestIdReused(FiscError):
    """This request_id already belongs to a different request."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"
