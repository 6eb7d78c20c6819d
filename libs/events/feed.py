"""Serves the event log to whoever follows it: fisc.common.v1.EventFeedService.

The reader keeps the cursor, the feed keeps nothing: any replica serves any reader, and a slow one
hurts nobody.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import asyncpg
import grpc
from google.protobuf import any_pb2
from typing_extensions import override

from fisc.common.v1 import events_pb2, events_pb2_grpc
from libs.errors import Unavailable
from libs.events import log
from libs.rpc import convert

SERVICE_NAME: Final = "fisc.common.v1.EventFeedService"
BATCH_DEFAULT: Final = 256
BATCH_MAX: Final = 500
# Each batch is a commit at every reader: who asks again at once sends five events where it could send a hundred.
POLL_INITIAL_S: Final = 0.2
POLL_MAX_S: Final = 0.5
HEARTBEAT_INTERVAL_S: Final = 5.0
DRAIN_RETRY_AFTER_S: Final = 1.0
TYPE_URL_PREFIX: Final = "type.googleapis.com/"


class EventFeedServicer(events_pb2_grpc.EventFeedServiceServicer):
    """Streams the events after a cursor; with follow it stays, polls, and sends heartbeats."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        """Each read borrows a connection of the pool for one query, never while it waits."""
        self._pool = pool
        self._draining = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Serve on this server; goes into `registrations`."""
        events_pb2_grpc.add_EventFeedServiceServicer_to_server(self, server)

    async def drain(self) -> None:
        """End the streams that follow, so that their readers go elsewhere; goes into `on_drain`."""
        self._draining.set()

    @override
    async def StreamEvents(
        self, request: events_pb2.StreamEventsRequest, context: Any
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        """Send batches in order. InvalidArgument: a foreign cursor. Unavailable: draining."""
        cursor = request.cursor
        limit = min(request.batch_max or BATCH_DEFAULT, BATCH_MAX)
        wait_s = POLL_INITIAL_S
        sent_at_s = time.monotonic()
        while not self._draining.is_set():
            events = await self._read(cursor, limit)
            if events:
                cursor = events[-1].cursor
                wait_s = POLL_INITIAL_S
            is_last = not request.follow and len(events) < limit
            is_heartbeat_due = time.monotonic() - sent_at_s >= HEARTBEAT_INTERVAL_S
            if events or is_last or is_heartbeat_due:
                yield _response(events, cursor)
                sent_at_s = time.monotonic()
            if is_last:
                return
            if len(events) < limit:
                await self._sleep(wait_s)
                if not events:
                    wait_s = min(wait_s * 2, POLL_MAX_S)
        raise Unavailable("this replica is draining", retry_after_s=DRAIN_RETRY_AFTER_S)

    async def _read(self, cursor: str, limit: int) -> Sequence[log.StoredEvent]:
        async with self._pool.acquire() as connection:
            return await log.read(connection, cursor, limit)

    async def _sleep(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._draining.wait()
        except TimeoutError:
            return


def _response(events: Sequence[log.StoredEvent], cursor: str) -> events_pb2.StreamEventsResponse:
    return events_pb2.StreamEventsResponse(
        events=[_event_to_proto(event) for event in events], next_cursor=cursor
    )


def _event_to_proto(event: log.StoredEvent) -> events_pb2.Event:
    return events_pb2.Event(
        event_id=event.event_id,
        type=event.type,
        merchant_id=event.merchant_id,
        subject_id=event.subject_id,
        occurred_at=convert.to_timestamp(event.occurred_at),
        payload=any_pb2.Any(type_url=TYPE_URL_PREFIX + event.payload_type, value=event.payload),
    )
