"""The news of gateway and clearing, read off their event feeds."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import grpc
import prometheus_client
from google.protobuf.message import DecodeError

from fisc.clearing.v1 import clearing_pb2
from fisc.common.v1 import events_pb2, events_pb2_grpc
from fisc.gateway.v1 import events_pb2 as gateway_events_pb2
from libs import log
from libs.db.pool import Connection, Pool
from libs.events import consumer
from libs.rpc import convert
from services.notification.clients import resources
from services.notification.domain.notice import EVENT_TYPES, Data, Notice

CONSUMER: Final = "notification"

_UNREADABLE = prometheus_client.Counter(
    "fisc_notification_events_unreadable", "Events whose payload was not what their type promises."
)
_log = log.get_logger()


class EventFeed:
    """One service's event feed, as notices."""

    def __init__(
        self,
        *,
        source: str,
        channel: grpc.aio.Channel,
        pool: Pool,
        metadata: consumer.Metadata = (),
    ) -> None:
        """`source` names the cursor; `metadata` goes with every call."""
        self._source = source
        self._stub = events_pb2_grpc.EventFeedServiceStub(channel)
        self._pool = pool
        self._metadata = metadata

    async def follow(self, take: Callable[[Connection, Sequence[Notice]], Awaitable[None]]) -> None:
        """Hand on what merchants may be told, for ever; the cursor moves in the transaction of `take`."""

        async def apply(connection: Connection, events: Sequence[events_pb2.Event]) -> None:
            notices = [each for each in map(read, events) if each is not None]
            if notices:
                await take(connection, notices)

        await consumer.follow(
            stub=self._stub,
            consumer=CONSUMER,
            source=self._source,
            pool=self._pool,
            apply=apply,
            metadata=self._metadata,
        )


def bearer(token: str) -> consumer.Metadata:
    """The metadata that shows a token."""
    return (("authorization", f"Bearer {token}"),)


def read(event: events_pb2.Event) -> Notice | None:
    """The event as a notice; None for what merchants are not told.

    An event that cannot be read is counted, logged and passed over: it must not stop all the others.
    """
    if event.type not in EVENT_TYPES:
        return None
    try:
        data = _READERS[event.type.partition(".")[0]](event)
    except DecodeError:
        data = None
    if data is None:
        _UNREADABLE.inc()
        _log.error("event passed over", event_id=event.event_id, type=event.type)
        return None
    return Notice(
        event_id=event.event_id,
        event_type=event.type,
        merchant_id=event.merchant_id,
        subject_id=event.subject_id,
        occurred_at=convert.from_timestamp(event.occurred_at),
        data=data,
    )


def _payment(event: events_pb2.Event) -> Data | None:
    payload = gateway_events_pb2.PaymentEvent()
    return resources.payment(payload.payment) if event.payload.Unpack(payload) else None


def _capture(event: events_pb2.Event) -> Data | None:
    payload = gateway_events_pb2.CaptureEvent()
    return resources.capture(payload.capture) if event.payload.Unpack(payload) else None


def _refund(event: events_pb2.Event) -> Data | None:
    payload = gateway_events_pb2.RefundEvent()
    return resources.refund(payload.refund) if event.payload.Unpack(payload) else None


def _payout(event: events_pb2.Event) -> Data | None:
    payload = gateway_events_pb2.PayoutEvent()
    return resources.payout(payload.payout) if event.payload.Unpack(payload) else None


def _batch(event: events_pb2.Event) -> Data | None:
    payload = clearing_pb2.Batch()
    return resources.batch(payload) if event.payload.Unpack(payload) else None


_Reader: TypeAlias = Callable[[events_pb2.Event], Data | None]
_READERS: Final[Mapping[str, _Reader]] = {
    "payment": _payment,
    "capture": _capture,
    "refund": _refund,
    "payout": _payout,
    "batch": _batch,
}
