"""How a replica speaks to the channels: over the network, behind the real breaker and bulkhead."""

from collections.abc import Callable, Mapping
from datetime import date, datetime

from libs.clock import Clock
from libs.resilience.breaker import Breaker
from services.gateway.channels import directory
from services.gateway.channels.directory import GuardedConnector
from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import (
    CHANNEL_UNREACHABLE,
    Balance,
    BillFile,
    Callback,
    CallbackAck,
    CallbackSignatureInvalid,
    CaptureOrder,
    ChannelUnsupported,
    ChargeOrder,
    Connector,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)
from services.gateway.domain.errors import ChannelNotFound
from services.gateway.domain.merchant import ChannelAccount
from tests.simulation.channels import TURNED_AWAY, Channel
from tests.simulation.network import LinkLost, LinkRefused, Network

CHANNEL_TIMEOUT_S = 5.0
# So few calls a world would hardly ever open a breaker that waits for five failures in a row.
BREAKER_FAILURES_MAX = 2


class Poison(Exception):
    """A bug struck while a saga's step was carried out."""


class SimulatedConnector:
    """One replica's way to one channel."""

    def __init__(self, channel: Channel, network: Network, strikes: Callable[[str], bool]) -> None:
        self._channel = channel
        self._network = network
        self._strikes = strikes

    async def charge(self, order: ChargeOrder) -> Outcome:
        return await self._ask(
            "charge", lambda: self._channel.charge(order), OutcomeKind.DECLINED_SOFT
        )

    async def query(self, order: SentOrder) -> Outcome:
        return await self._ask("query", lambda: self._channel.query(order.out_ref))

    async def close(self, order: SentOrder) -> Outcome:
        return await self._ask("close", lambda: self._channel.close(order.out_ref))

    async def capture(self, order: CaptureOrder) -> Outcome:
        return await self._ask("capture", lambda: self._channel.capture(order))

    async def query_capture(self, order: SentOrder) -> Outcome:
        return await self._ask("query", lambda: self._channel.query(order.out_ref))

    async def refund(self, order: RefundOrder) -> Outcome:
        return await self._ask("refund", lambda: self._channel.refund(order))

    async def query_refund(self, order: SentOrder) -> Outcome:
        return await self._ask("query", lambda: self._channel.query(order.out_ref))

    async def payout(self, order: PayoutOrder) -> Outcome:
        return await self._ask("payout", lambda: self._channel.payout(order))

    async def query_payout(self, order: SentOrder) -> Outcome:
        return await self._ask("query", lambda: self._channel.query(order.out_ref))

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        if body not in self._channel.callbacks:
            raise CallbackSignatureInvalid("nobody of this channel wrote this")
        return self._channel.callbacks[body]

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        return CallbackAck(status=200 if ok else 400, content_type="text/plain", body=b"")

    async def fetch_bill(self, business_date: date) -> BillFile:
        raise ChannelUnsupported

    async def balance(self) -> Balance:
        raise ChannelUnsupported

    async def _ask(
        self,
        operation: str,
        act: Callable[[], Outcome],
        if_unsent: OutcomeKind = OutcomeKind.UNKNOWN,
    ) -> Outcome:
        if self._strikes("poison"):
            raise Poison
        try:
            return await self._network.exchange(
                self._channel.channel_id,
                f"channel {operation}",
                act,
                timeout_s=CHANNEL_TIMEOUT_S,
                is_repeated=lambda outcome: outcome.code not in TURNED_AWAY,
            )
        except LinkLost:
            return Outcome(kind=OutcomeKind.UNKNOWN, code="NO_ANSWER")
        except LinkRefused:
            return Outcome(kind=if_unsent, code=CHANNEL_UNREACHABLE)


class SimulatedChannels:
    """One replica's connectors, each with its own breaker."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        network: Network,
        strikes: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self._guarded = {
            channel_id: GuardedConnector(
                channel_id,
                SimulatedConnector(channel, network, strikes),
                Breaker(
                    channel_id,
                    consecutive_failures_max=BREAKER_FAILURES_MAX,
                    slow_call_s=directory.SLOW_CALL_S,
                    open_s=directory.BREAKER_OPEN_S,
                    clock=clock,
                ),
            )
            for channel_id, channel in channels.items()
        }

    async def connector(self, channel_id: str) -> Connector:
        if channel_id not in self._guarded:
            raise ChannelNotFound(channel_id=channel_id)
        return self._guarded[channel_id]

    def check(self, account: ChannelAccount, credentials: Mapping[str, str]) -> None:
        """Every account is good here."""

    def offers(self, channel_id: str, method: str, feature: Feature) -> bool:
        """Every channel can do everything here."""
        return True

    async def renew(self, channel_id: str) -> None:
        """Nothing changes here."""
