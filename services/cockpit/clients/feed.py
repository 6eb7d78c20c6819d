"""The gateway's event feed as batches of facts."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import grpc

from fisc.common.v1 import events_pb2, events_pb2_grpc
from libs import log
from libs.errors import Unavailable
from libs.rpc.status import from_rpc_error
from services.cockpit.clients import wire
from services.cockpit.domain.facts import Fact, FeedBatch

BATCH_MAX: Final = 500
# A stream is renewed now and then, so that readers spread over a feed's new replicas.
STREAM_LIFETIME_S: Final = 600.0
# The feed sends a heartbeat every few seconds; a longer silence means the connection is dead.
SILENCE_MAX_S: Final = 30.0

_log = log.get_logger()


class GatewayFeed:
    """Follows the feed; the operator token goes with the call."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]]) -> None:
        """The channel stays the caller's to close."""
        self._stub = events_pb2_grpc.EventFeedServiceStub(channel)
        self._metadata = tuple(metadata)

    async def batches(self, cursor: str) -> AsyncIterator[FeedBatch]:
        """What comes after the cursor; ends when the stream's lifetime is over.

        Raises FiscError when the feed is away, refuses us or falls silent.
        """
        request = events_pb2.StreamEventsRequest(cursor=cursor, batch_max=BATCH_MAX, follow=True)
        call = self._stub.StreamEvents(request, timeout=STREAM_LIFETIME_S, metadata=self._metadata)
        try:
            while True:
                async with asyncio.timeout(SILENCE_MAX_S):
                    response = await call.read()
                if not isinstance(response, events_pb2.StreamEventsResponse):  # the end
                    return
                yield FeedBatch(
                    facts=list(_facts(response.events)),
                    next_cursor=response.next_cursor,
                    is_last=len(response.events) < BATCH_MAX,
                )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise from_rpc_error(error) from error
        except TimeoutError as error:
            raise Unavailable("the feed has fallen silent") from error
        finally:
            call.cancel()


def _facts(events: Iterable[events_pb2.Event]) -> Iterable[Fact]:
    """One event that cannot be read must not hide all that come after it."""
    for event in events:
        try:
            fact = wire.fact_of(event)
        except ValueError as error:
            _log.error("event could not be read", event_id=event.event_id, error=str(error))
            continue
        if fact is not None:
            yield fact
