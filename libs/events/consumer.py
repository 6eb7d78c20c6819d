"""Follows another service's event feed, so that each event takes effect here exactly once.

The cursor moves in the transaction of the effect. Several replicas may follow the same feed: whoever
moves the cursor first applies the batch, the others start again behind it.
"""

import asyncio
import dataclasses
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import cast

import asyncpg
import grpc
import prometheus_client

from fisc.common.v1 import events_pb2, events_pb2_grpc
from libs import log
from libs.db.errors import is_connection_lost
from libs.events import kinds
from libs.rpc.status import from_rpc_error

BATCH_MAX = 256
CATCH_UP_TIMEOUT_S = 30.0
# A stream is renewed now and then, so that followers spread over a feed's new replicas.
STREAM_LIFETIME_S = 600.0
# The feed sends a heartbeat every few seconds; a longer silence means the connection is dead.
SILENCE_MAX_S = 30.0
BACK_OFF_INITIAL_S = 0.2
BACK_OFF_MAX_S = 10.0

Apply = Callable[
    ["asyncpg.Connection[asyncpg.Record]", Sequence[events_pb2.Event]], Awaitable[None]
]

_APPLIED = prometheus_client.Counter(
    "fisc_events_applied", "Events that took effect.", ["consumer", "source"]
)
_LAG_SECONDS = prometheus_client.Gauge(
    "fisc_events_lag_seconds",
    "Age of the last event applied; 0 at the end.",
    ["consumer", "source"],
)

_CREATE_CURSOR = """
INSERT INTO event_cursor (consumer, source) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_READ_CURSOR = "SELECT cursor FROM event_cursor WHERE consumer = $1 AND source = $2"
_MOVE_CURSOR = """
UPDATE event_cursor SET cursor = $4, updated_at = now()
WHERE consumer = $1 AND source = $2 AND cursor = $3
RETURNING true
"""

Metadata = Sequence[tuple[str, str]]

_log = log.get_logger()


class _CursorMovedError(Exception):
    """Someone else applied this batch."""


async def follow(
    *,
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub",
    consumer: str,
    source: str,
    pool: "asyncpg.Pool[asyncpg.Record]",
    apply: Apply,
    batch_max: int = BATCH_MAX,
    metadata: Metadata = (),
) -> None:
    """Apply the events of `source` for as long as the task lives.

    `apply` runs in a transaction, gets up to `batch_max` events in order, and must not wait for
    anything remote. At an event of a later release it waits until that release's replica has applied it. `metadata` goes with every call of the feed, such as its authorization.
    Reconnects with back-off when the feed or the database is away; what `apply` raises otherwise
    ends the loop, with nothing of the batch applied.
    """
    reader = _Reader(stub, consumer, source, pool, apply, batch_max, metadata)
    back_off_s = BACK_OFF_INITIAL_S
    while True:
        try:
            async for _ in reader.batches(follow=True, timeout_s=STREAM_LIFETIME_S):
                back_off_s = BACK_OFF_INITIAL_S
        except _CursorMovedError:
            pass
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                reader.log_interruption(f"{error.code().name}: {error.details()}")
        except kinds.EventTooNew as error:
            reader.log_interruption(f"{error.reason}: {error.metadata}")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not is_connection_lost(error):
                raise
            reader.log_interruption(repr(error))
        await asyncio.sleep(back_off_s * random.uniform(0.5, 1.0))  # noqa: S311 -- only jitter
        back_off_s = min(2 * back_off_s, BACK_OFF_MAX_S)


async def catch_up(
    *,
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub",
    consumer: str,
    source: str,
    pool: "asyncpg.Pool[asyncpg.Record]",
    apply: Apply,
    batch_max: int = BATCH_MAX,
    timeout_s: float = CATCH_UP_TIMEOUT_S,
    metadata: Metadata = (),
) -> int:
    """Apply what the feed holds now, and return the number of events applied by this call.

    Raises a FiscError if the feed is away or `timeout_s` passes; what was applied by then stays.
    """
    reader = _Reader(stub, consumer, source, pool, apply, batch_max, metadata)
    applied = 0
    while True:
        try:
            async for count in reader.batches(follow=False, timeout_s=timeout_s):
                applied += count
        except _CursorMovedError:
            continue
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return applied


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub"
    consumer: str
    source: str
    pool: "asyncpg.Pool[asyncpg.Record]"
    apply: Apply
    batch_max: int
    metadata: Metadata

    async def batches(self, *, follow: bool, timeout_s: float) -> AsyncIterator[int]:
        """Apply batch after batch from the stored cursor; yield how many events each had."""
        cursor = await self._stored_cursor()
        request = events_pb2.StreamEventsRequest(
            cursor=cursor, batch_max=self.batch_max, follow=follow
        )
        async with aclosing(self._responses(request, timeout_s)) as responses:
            async for response in responses:
                if response.events:
                    await self._apply(cursor, response)
                    cursor = response.next_cursor
                else:
                    _LAG_SECONDS.labels(self.consumer, self.source).set(0)
                yield len(response.events)

    async def _responses(
        self, request: events_pb2.StreamEventsRequest, timeout_s: float
    ) -> AsyncGenerator[events_pb2.StreamEventsResponse, None]:
        call = self.stub.StreamEvents(request, timeout=timeout_s, metadata=tuple(self.metadata))
        try:
            while True:
                async with asyncio.timeout(SILENCE_MAX_S):
                    response = await call.read()
                if not isinstance(response, events_pb2.StreamEventsResponse):  # the end
                    return
                yield response
        finally:
            call.cancel()

    async def _stored_cursor(self) -> str:
        async with self.pool.acquire() as connection:
            await connection.execute(_CREATE_CURSOR, self.consumer, self.source)
            cursor: str = await connection.fetchval(_READ_CURSOR, self.consumer, self.source)
            return cursor

    async def _apply(self, cursor: str, response: events_pb2.StreamEventsResponse) -> None:
        self._note_lag(response.events[0])
        kinds.check_known(response.events)
        async with self.pool.acquire() as connection, connection.transaction():
            # Moving the cursor first locks its row: of two replicas, one applies the batch.
            moved = await connection.fetchval(
                _MOVE_CURSOR, self.consumer, self.source, cursor, response.next_cursor
            )
            if not moved:
                raise _CursorMovedError
            # The pool's proxy behaves as the connection, but is no subclass of it.
            await self.apply(
                cast("asyncpg.Connection[asyncpg.Record]", connection), response.events
            )
        _APPLIED.labels(self.consumer, self.source).inc(len(response.events))
        self._note_lag(response.events[-1])

    def _note_lag(self, event: events_pb2.Event) -> None:
        age_s = (datetime.now(UTC) - event.occurred_at.ToDatetime(UTC)).total_seconds()
        _LAG_SECONDS.labels(self.consumer, self.source).set(max(0.0, age_s))

    def log_interruption(self, why: str) -> None:
        """Tell that the feed will be tried again."""
        _log.warning("event feed interrupted", consumer=self.consumer, source=self.source, why=why)
