"""Values between protobuf and our own types."""

from datetime import UTC, datetime, timedelta

from google.protobuf import timestamp_pb2

from fisc.common.v1 import money_pb2, verdict_pb2
from libs.errors import ErrorKind, FiscError, RemoteError
from libs.money import Money

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ITEM_KINDS = {kind: verdict_pb2.ItemError.Kind.Value(f"KIND_{kind.name}") for kind in ErrorKind}
_KINDS = {item_kind: kind for kind, item_kind in _ITEM_KINDS.items()}


def money_to_proto(money: Money) -> money_pb2.Money:
    """The same amount on the wire."""
    return money_pb2.Money(currency=money.currency, amount_minor=money.amount_minor)


def money_from_proto(money: money_pb2.Money) -> Money:
    """The same amount as our own type; the errors of Money when the currency is unknown."""
    return Money(currency=money.currency, amount_minor=money.amount_minor)


def to_timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    """An aware datetime, exact to the microsecond. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone has no place on the wire")
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    seconds, rest = divmod(microseconds, 1_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=rest * 1_000)


def from_timestamp(timestamp: timestamp_pb2.Timestamp) -> datetime:
    """A Timestamp as aware UTC datetime; what is finer than a microsecond is dropped."""
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1_000)


def error_to_item(error: FiscError) -> verdict_pb2.ItemError:
    """Why one item of a batch was refused, in the words its unary call would use."""
    return verdict_pb2.ItemError(
        reason=error.reason,
        message=error.message,
        field=error.field or "",
        metadata=error.metadata,
        kind=_ITEM_KINDS[error.kind],
    )


def error_from_item(
    item: verdict_pb2.ItemError, kind: ErrorKind = ErrorKind.REJECTED
) -> RemoteError:
    """The refusal of one item as an error; of `kind` where the other side is of an earlier release and says none."""
    error = RemoteError(
        item.message,
        kind=_KINDS.get(item.kind, kind),
        reason=item.reason,
        field=item.field or None,
    )
    error.metadata.update(item.metadata)
    return error
