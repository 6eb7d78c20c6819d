"""Tells the services below what happened, from the event log, in batches, at least once; each guards itself by ids.

One cursor a consumer: a slow or absent one holds up nobody else. The cursor moves after the consumer has answered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime

import prometheus_client

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.risk.v1 import risk_pb2, risk_pb2_grpc
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs import crashpoints
from libs.errors import FiscError
from libs.events import kinds
from libs.events.log import StoredEvent
from libs.log import get_logger
from libs.rpc.client import call
from services.gateway.domain.errors import PostingRefused
from services.gateway.usecases.ports import Outbox
from services.gateway.workers import facts

BATCH_MAX = 256
# A push and its cursor are a commit each on either side: whoever asks at once is told of five events where it could be told of a
# hundred. A full batch is followed by the next without a pause.
PACE_S = 0.25
PUSH_TIMEOUT_S = 10.0
BACK_OFF_S = 0.5
BACK_OFF_MAX_S = 10.0
TOO_NEW_WAIT_S = 2.0

_log = get_logger()
pushed = prometheus_client.Counter("events_pushed_total", "Events pushed downward.", ["consumer"])
push_lag = prometheus_client.Gauge(
    "events_push_lag_seconds", "Age of the oldest event not pushed yet; 0 at the end.", ["consumer"]
)

Push = Callable[[Sequence[StoredEvent]], Awaitable[None]]


class Pusher:
    """One consumer's loop."""

    def __init__(self, consumer: str, outbox: Outbox, push: Push) -> None:
        self._consumer = consumer
        self._outbox = outbox
        self._push = push

    async def run(self) -> None:
        """Background loop."""
        cursor = await self._outbox.get_cursor(self._consumer)
        back_off_s = BACK_OFF_S
        while True:
            events = await self._outbox.read_events(cursor, BATCH_MAX)
            if not events:
                push_lag.labels(self._consumer).set(0)
                await asyncio.sleep(PACE_S)
                continue
            age_s = (datetime.now(UTC) - events[0].occurred_at).total_seconds()
            push_lag.labels(self._consumer).set(max(0.0, age_s))
            known = kinds.known_part(events)
            if not known:
                # The later release's replica pushes it; what follows may be ours again.
                _log.warning(
                    "push left to a later release", consumer=self._consumer, type=events[0].type
                )
                await asyncio.sleep(TOO_NEW_WAIT_S)
                cursor = await self._outbox.get_cursor(self._consumer)
                continue
            try:
                await self._push(known)
            except FiscError as error:
                # A refused posting is nobody's outage: it stays until a person has looked.
                tell = _log.error if isinstance(error, PostingRefused) else _log.warning
                tell(
                    "push postponed",
                    consumer=self._consumer,
                    reason=error.reason,
                    **error.metadata,
                )
                await asyncio.sleep(back_off_s)
                back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)
                continue
            cursor = await self._outbox.move_cursor(self._consumer, cursor, known[-1].cursor)
            back_off_s = BACK_OFF_S
            pushed.labels(self._consumer).inc(len(known))
            if len(events) < BATCH_MAX:
                await asyncio.sleep(PACE_S)


def to_account(stub: "account_pb2_grpc.AccountServiceAsyncStub") -> Push:
    """Books what succeeded and what came back, captures the holds of succeeded payouts, releases those of failed ones."""

    async def push(events: Sequence[StoredEvent]) -> None:
        request_id = events[0].event_id
        postings = facts.postings(events)
        is_news = bool(postings.captures or postings.voids or postings.transfers)
        if is_news:
            crashpoints.reach("K11")
        if postings.captures:
            response = await call(
                stub.CaptureHolds,
                account_pb2.CaptureHoldsRequest(request_id=request_id, captures=postings.captures),
                timeout_s=PUSH_TIMEOUT_S,
            )
            _check((result.accepted, result.error.reason) for result in response.results)
        if postings.voids:
            crashpoints.reach("K13")
            released = await call(
                stub.VoidHolds,
                account_pb2.VoidHoldsRequest(request_id=request_id, hold_ids=postings.voids),
                timeout_s=PUSH_TIMEOUT_S,
            )
            _check((result.accepted, result.error.reason) for result in released.results)
        if postings.transfers:
            booked = await call(
                stub.PostTransfers,
                account_pb2.PostTransfersRequest(
                    request_id=request_id, transfers=postings.transfers
                ),
                timeout_s=PUSH_TIMEOUT_S,
            )
            _check((result.booked, result.error.reason) for result in booked.results)
        if is_news:
            crashpoints.reach("K12")

    return push


def to_router(stub: "router_pb2_grpc.RouterServiceAsyncStub") -> Push:
    """Feeds back what channels did with payments and payouts."""

    async def push(events: Sequence[StoredEvent]) -> None:
        outcomes = [outcome for event in events for outcome in facts.outcomes(event)]
        if outcomes:
            request = router_pb2.RecordOutcomesRequest(
                request_id=events[0].event_id, outcomes=outcomes
            )
            await call(stub.RecordOutcomes, request, timeout_s=PUSH_TIMEOUT_S)

    return push


def to_risk(stub: "risk_pb2_grpc.RiskServiceAsyncStub") -> Push:
    """Tells how judged operations ended."""

    async def push(events: Sequence[StoredEvent]) -> None:
        outcomes = [outcome for event in events for outcome in facts.endings(event)]
        if outcomes:
            request = risk_pb2.RecordOutcomesRequest(
                request_id=events[0].event_id, outcomes=outcomes
            )
            await call(stub.RecordOutcomes, request, timeout_s=PUSH_TIMEOUT_S)

    return push


def _check(verdicts: Iterable[tuple[bool, str]]) -> None:
    """What happened has happened: the ledger must take it, and a refusal stops this consumer until a person has looked."""
    refusals = [reason for is_done, reason in verdicts if not is_done]
    if refusals:
        raise PostingRefused(first_reason=refusals[0], refusals_count=str(len(refusals)))
