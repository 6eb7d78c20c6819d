"""Channels' notifications: kept raw, verified, then told to the saga they belong to."""

from collections.abc import Awaitable, Callable, Mapping

import prometheus_client

from libs import crashpoints
from libs.clock import Clock
from services.gateway.domain.channel import Callback, CallbackAck, CallbackRejected
from services.gateway.domain.saga import Answered
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore
from services.gateway.usecases.ports import Channels

received = prometheus_client.Counter(
    "callbacks_total", "Notifications of channels.", ["channel", "result"]
)

Teller = Callable[[str, Answered], Awaitable[None]]


class Callbacks:
    """What happens to a notification."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: SagaStore,
        channels: Channels,
        tellers: Mapping[str, Teller],
        clock: Clock,
    ) -> None:
        """`tellers` note what a channel said of a payment, capture, refund or payout, and let what follows go on by itself."""
        self._registry = registry
        self._store = store
        self._channels = channels
        self._tellers = tellers
        self._clock = clock

    async def receive(
        self, channel_id: str, headers: Mapping[str, str], body: bytes
    ) -> CallbackAck:
        """Applies a notification once and answers as its channel wants.

        Raises ChannelNotFound. A forged or malformed one is kept, counted and refused.
        """
        connector = await self._channels.connector(channel_id)
        now = self._clock.now()
        inbox_id = await self._registry.receive_callback(channel_id, headers, body, now)
        crashpoints.reach("K15")
        try:
            callback = connector.parse_callback(headers, body, now)
        except CallbackRejected as error:
            await self._settle(inbox_id, channel_id, "", "", error.reason)
            return connector.acknowledge(ok=False, message=error.message)
        result = await self._apply(channel_id, callback)
        crashpoints.reach("K15")
        await self._settle(inbox_id, channel_id, callback.event_id, callback.out_ref, result)
        return connector.acknowledge(ok=result != "UNKNOWN_ORDER", message=result)

    async def _apply(self, channel_id: str, callback: Callback) -> str:
        if await self._registry.is_callback_applied(channel_id, callback.event_id):
            return "DUPLICATE"
        if callback.kind == "notice":
            return "NOTICED"
        attempt = await self._store.find_attempt(channel_id, callback.out_ref)
        if attempt is None:
            return "UNKNOWN_ORDER"
        signal = Answered(outcome=callback.outcome, attempt_number=attempt.number, attempt=attempt)
        # The channel wants its answer soon; what follows, such as another channel, goes on by itself.
        await self._tellers[callback.kind](attempt.subject_id, signal)
        return "APPLIED"

    async def _settle(
        self, inbox_id: int, channel_id: str, event_id: str, out_ref: str, result: str
    ) -> None:
        await self._registry.settle_callback(
            inbox_id, event_id=event_id, out_ref=out_ref, result=result
        )
        received.labels(channel_id, result).inc()
