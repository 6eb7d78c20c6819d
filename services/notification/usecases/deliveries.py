"""Sending what is due, recording what came of it, and letting people see and repeat it."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from libs.clock import Clock
from libs.paging import Page, PageRequest
from services.notification import store
from services.notification.domain import delivery as rules
from services.notification.domain import signature
from services.notification.domain.delivery import (
    Answer,
    Attempt,
    Backlog,
    Claim,
    Delivery,
    DeliveryState,
)
from services.notification.usecases.endpoints import Seal, fingerprint

_MILLISECONDS_PER_SECOND: Final = 1_000
_CONTENT_TYPE: Final = {"content-type": "application/json"}


class Result(enum.StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"
    OVERTAKEN = "overtaken"


class Sender(Protocol):
    """Calls a merchant's endpoint."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once; whatever happens is an answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When to try again, and how long an attempt may hold its delivery."""

    retry_delays_s: Sequence[float]
    lease_s: float


class Deliveries:
    """The life of deliveries once they are made."""

    def __init__(
        self,
        pool: store.Pool,
        *,
        clock: Clock,
        seal: Seal,
        sender: Sender,
        jitter: Callable[[], float],
        pace: Pace,
    ) -> None:
        """`jitter` gives random numbers in [0, 1)."""
        self._pool = pool
        self._clock = clock
        self._seal = seal
        self._sender = sender
        self._jitter = jitter
        self._pace = pace

    async def is_ready(self) -> bool:
        """Whether the database answers."""
        async with self._pool.acquire() as connection:
            return await store.ping(connection)

    async def claim(
        self, *, count_max: int, endpoint_max: int, in_flight: Mapping[str, int]
    ) -> list[Claim]:
        """Take up to count_max due deliveries; nobody else gets them until the lease ends.

        `in_flight` says how many each endpoint has here already; none gets more than endpoint_max.
        """
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            return await store.claim_due(
                connection,
                now=now,
                lease_until=now + timedelta(seconds=self._pace.lease_s),
                count_max=count_max,
                endpoint_max=endpoint_max,
                in_flight=in_flight,
            )

    async def attempt(self, claim: Claim) -> Result:
        """Send a claimed delivery once and record what came of it.

        A crash in between leaves the claim to run out, and the delivery is sent again under the same webhook-id.
        """
        attempted_at, started_s = self._clock.now(), self._clock.monotonic()
        body = claim.body.encode()
        secrets = [self._seal.open(each) for each in claim.sealed_secrets]
        headers = signature.headers(secrets, claim.delivery_id, attempted_at, body)
        answer = await self._sender.post(claim.url, _CONTENT_TYPE | headers, body)
        latency_s = self._clock.monotonic() - started_s
        attempt = Attempt(
            attempted_at=attempted_at,
            http_status=answer.http_status,
            latency_ms=round(latency_s * _MILLISECONDS_PER_SECOND),
            error=answer.reason,
        )
        return await self._record(claim, answer, attempt)

    async def get(self, delivery_id: str) -> tuple[Delivery, list[Attempt]]:
        """A delivery and its attempts, or DeliveryNotFound."""
        async with self._pool.acquire() as connection:
            delivery = await store.get_delivery(connection, delivery_id)
            return delivery, await store.list_attempts(connection, delivery_id)

    async def list(
        self,
        *,
        merchant_id: str,
        state: DeliveryState | None,
        subject_id: str,
        page: PageRequest,
    ) -> Page[Delivery]:
        """Deliveries, newest first. Raises InvalidPageToken."""
        before_id = page.after
        async with self._pool.acquire() as connection:
            found = await store.list_deliveries(
                connection,
                merchant_id=merchant_id,
                state=state,
                subject_id=subject_id,
                before_id=before_id,
                limit=page.limit,
            )
        return page.page(found, lambda delivery: delivery.delivery_id)

    async def redeliver(self, request_id: str, delivery_id: str) -> Delivery:
        """Make a delivery due now, whatever became of it, with the whole schedule before it.

        Idempotent by request_id. Raises DeliveryNotFound, EndpointDisabled, RequestIdReused.
        """
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            known_id = await store.claim_request(
                connection,
                rpc="Redeliver",
                request_id=request_id,
                fingerprint=fingerprint(delivery_id),
                resource_id=delivery_id,
                now=now,
            )
            delivery = await store.get_delivery(connection, delivery_id)
            if known_id is not None:
                return delivery
            # The endpoint before the delivery, in the order of those who disable it.
            await store.hold_enabled_endpoint(connection, delivery.endpoint_id)
            due = rules.again(await store.lock_delivery(connection, delivery_id), now)
            await store.save_delivery(connection, due)
            return due

    async def backlog(self) -> tuple[Backlog, float]:
        """What waits and what was given up, and for how many seconds the oldest has waited."""
        async with self._pool.acquire() as connection:
            found = await store.backlog(connection)
        if found.oldest_pending_at is None:
            return found, 0.0
        return found, max(0.0, (self._clock.now() - found.oldest_pending_at).total_seconds())

    async def _record(self, claim: Claim, answer: Answer, attempt: Attempt) -> Result:
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            if answer.is_gone:
                await store.disable_endpoint_at(connection, claim.endpoint_id, claim.url, now)
            before = await store.lock_delivery(connection, claim.delivery_id)
            after = rules.after_attempt(
                before,
                answer,
                epoch=claim.epoch,
                now=now,
                delays_s=self._pace.retry_delays_s,
                jitter=self._jitter(),
            )
            await store.save_delivery(connection, after)
            await store.insert_attempt(connection, claim.delivery_id, after.attempts_count, attempt)
        if claim.epoch != before.epoch:
            return Result.OVERTAKEN
        return _RESULTS[after.state]


_RESULTS: Final = {
    DeliveryState.DELIVERED: Result.DELIVERED,
    DeliveryState.PENDING: Result.RETRY,
    DeliveryState.DEAD: Result.DEAD,
}
