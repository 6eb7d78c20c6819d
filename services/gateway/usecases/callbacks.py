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

# What became of a notification, besides the reasons of CallbackRejected.
APPLIED, DUPLICATE, NOTICED = "APPLIED", "DUPLICATE", "NOTICED"
UNKNOWN_ORDER = "UNKNOWN_ORDER"
"""Genuine, but no attempt of ours has this number (yet): the channel shall tell again."""
KIND_MISMATCH = "KIND_MISMATCH"
"""Genuine, but it takes a payment for a refund, or the like."""
_ACCEPTED = frozenset({APPLIED, DUPLICATE, NOTICED})
# Of one channel, in one process.
REJECTED_KEPT_MAX = 100
REJECTED_WINDOW_S = 60.0

Teller = Callable[[str, Answered], Awaitable[None]]


class Rejections:
    """How many notifications of each channel were refused lately, in this process.

    Anybody can send to the door. What is refused is kept for people to look at, but only so much of it; beyond
    that a body is kept only once it has been verified.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, tuple[float, int]] = {}

    def add(self, channel_id: str) -> None:
        since_s, count = self._lately(channel_id)
        self._counts[channel_id] = (since_s, count + 1)

    def are_many(self, channel_id: str) -> bool:
        return self._lately(channel_id)[1] >= REJECTED_KEPT_MAX

    def _lately(self, channel_id: str) -> tuple[float, int]:
        now_s = self._clock.monotonic()
        since_s, count = self._counts.get(channel_id, (now_s, 0))
        return (since_s, count) if now_s - since_s < REJECTED_WINDOW_S else (now_s, 0)


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
        self._rejections = Rejections(clock)

    async def receive(
        self, channel_id: str, headers: Mapping[str, str], body: bytes
    ) -> CallbackAck:
        """Applies a notification once and answers as its channel wants.

        Raises ChannelNotFound. A forged or malformed one is kept, counted and refused.
        """
        connector = await self._channels.connector(channel_id)
        now = self._clock.now()
        inbox_id = None
        if not self._rejections.are_many(channel_id):
            inbox_id = await self._registry.receive_callback(channel_id, headers, body, now)
            crashpoints.reach("K15")
        try:
            callback = connector.parse_callback(headers, body, now)
        except CallbackRejected as error:
            self._rejections.add(channel_id)
            if inbox_id is not None:
                await self._registry.settle_callback(
                    inbox_id, event_id="", out_ref="", result=error.reason
                )
            received.labels(channel_id, error.reason).inc()
            return connector.acknowledge(ok=False, message=error.message)
        if inbox_id is None:
            inbox_id = await self._registry.receive_callback(channel_id, headers, body, now)
        result = await self._apply(channel_id, callback)
        crashpoints.reach("K15")
        await self._registry.settle_callback(
            inbox_id, event_id=callback.event_id, out_ref=callback.out_ref, result=result
        )
        received.labels(channel_id, result).inc()
        return connector.acknowledge(ok=result in _ACCEPTED, message=result)

    async def _apply(self, channel_id: str, callback: Callback) -> str:
        """What becomes of a genuine one. Whether its amount is ours the flow judges, on the row that it locks."""
        if await self._registry.is_callback_applied(channel_id, callback.event_id):
            return DUPLICATE
        if callback.kind == "notice":
            return NOTICED
        attempt = await self._store.find_attempt(channel_id, callback.out_ref)
        if attempt is None:
            return UNKNOWN_ORDER
        if attempt.operation.lower() != callback.kind:
            return KIND_MISMATCH
        signal = Answered(outcome=callback.outcome, attempt_number=attempt.number, attempt=attempt)
        # The channel wants its answer soon; what follows, such as another channel, goes on by itself.
        await self._tellers[callback.kind](attempt.subject_id, signal)
        return APPLIED
