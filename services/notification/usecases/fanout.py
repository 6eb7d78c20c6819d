"""From events to deliveries: one for every endpoint that wants to hear."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from libs.clock import Clock
from libs.ids import IdSource
from services.notification import store
from services.notification.domain import notice as notices
from services.notification.domain.delivery import Delivery, DeliveryState
from services.notification.domain.notice import Notice

Take: TypeAlias = Callable[[store.Connection, Sequence[Notice]], Awaitable[None]]


class Feed(Protocol):
    """Another service's news."""

    async def follow(self, take: Take) -> None:
        """Hand on what happens, for ever; the place in the feed moves in the transaction of `take`."""
        ...


class Fanout:
    """Turns what happened into deliveries."""

    def __init__(self, *, clock: Clock, ids: IdSource) -> None:
        """Deliveries are due at once, and get their ids here."""
        self._clock = clock
        self._ids = ids

    async def take(self, connection: store.Connection, told: Sequence[Notice]) -> None:
        """Make the deliveries of some events in the caller's transaction. Events seen before add nothing."""
        merchant_ids = {each.merchant_id for each in told if each.merchant_id}
        if not merchant_ids:
            return
        now = self._clock.now()
        endpoints = await store.endpoints_to_tell(connection, merchant_ids)
        deliveries = [
            Delivery(
                delivery_id=self._ids.new("msg"),
                endpoint_id=endpoint.endpoint_id,
                merchant_id=notice.merchant_id,
                event_id=notice.event_id,
                event_type=notice.event_type,
                subject_id=notice.subject_id,
                body=notices.body(notice),
                state=DeliveryState.PENDING,
                attempts_count=0,
                round_attempts=0,
                next_attempt_at=now,
                epoch=0,
                created_at=now,
            )
            for notice in told
            for endpoint in endpoints
            if endpoint.merchant_id == notice.merchant_id and endpoint.wants(notice.event_type)
        ]
        if deliveries:
            await store.insert_deliveries(connection, deliveries, now)
