"""Every reason for which notification refuses something."""

from libs.errors import ErrorKind, FiscError


class EndpointNotFound(FiscError):
    """This merchant has no endpoint with this id."""

    kind = ErrorKind.NOT_FOUND
    reason = "ENDPOINT_NOT_FOUND"


class DeliveryNotFound(FiscError):
    """There is no delivery with this id."""

    kind = ErrorKind.NOT_FOUND
    reason = "DELIVERY_NOT_FOUND"


class EndpointUrlInvalid(FiscError):
    """The URL must be absolute, with a host and without user, password and fragment."""

    kind = ErrorKind.INVALID
    reason = "ENDPOINT_URL_INVALID"


class HttpsRequired(FiscError):
    """The URL must begin with https."""

    kind = ErrorKind.INVALID
    reason = "HTTPS_REQUIRED"


class AddressNotPublic(FiscError):
    """The URL leads to an address that is not on the public internet."""

    kind = ErrorKind.INVALID
    reason = "ADDRESS_NOT_PUBLIC"


class EventTypeUnknown(FiscError):
    """There is no such event type to subscribe to."""

    kind = ErrorKind.INVALID
    reason = "EVENT_TYPE_UNKNOWN"


class EndpointDisabled(FiscError):
    """The endpoint is disabled; enable it first."""

    kind = ErrorKind.REJECTED
    reason = "ENDPOINT_DISABLED"


class TooManySecrets(FiscError):
    """Too many secrets of this endpoint still sign; wait until the oldest has run out."""

    kind = ErrorKind.REJECTED
    reason = "TOO_MANY_SECRETS"


class RequestIdReused(FiscError):
    """This request_id already belongs to a different request."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"
