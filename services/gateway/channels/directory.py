"""The channels of this gateway: built from their rows, guarded by a breaker and a bound, measured."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import orjson
import prometheus_client
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from libs.clock import Clock
from libs.log import get_logger
from libs.resilience.breaker import Breaker, BreakerOpen
from services.gateway.channels import registry
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.provider import Wiring
from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import (
    CHANNEL_UNREACHABLE,
    Balance,
    BillFile,
    Callback,
    CallbackAck,
    CaptureOrder,
    ChannelMisconfigured,
    ChargeOrder,
    Connector,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)
from services.gateway.domain.errors import ChannelNotFound, MethodNotOffered
from services.gateway.domain.merchant import ChannelAccount, StoredChannel

# Calls one channel may have under way; the rest wait, so that a slow channel cannot take every connection.
IN_FLIGHT_MAX = 64
# Far below the saga's lease: whoever still waits for a place by then had better be told so.
PLACE_WAIT_MAX_S = 3.0
SLOW_CALL_S = 3.0
BREAKER_OPEN_S = 5.0
REFRESH_INTERVAL_S = 5.0
CHANNELS_MAX = 1000
_log = get_logger()
CIRCUIT_OPEN = "CHANNEL_CIRCUIT_OPEN"
NO_PLACE = "CHANNEL_BULKHEAD_FULL"

calls = prometheus_client.Counter(
    "channel_calls_total", "Calls of channels.", ["channel", "operation", "outcome"]
)
latency = prometheus_client.Histogram(
    "channel_call_seconds",
    "Time a channel took.",
    ["channel", "operation"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
)


class ChannelRows(Protocol):
    """Where the channels' rows come from."""

    async def list_channels(self, after: str, limit: int) -> Sequence[StoredChannel]:
        """By id."""
        ...


class FernetSealer:
    """Seals credentials with the first key; opens with any of them, so that keys can be rotated."""

    def __init__(self, keys: str) -> None:
        """`keys`: Fernet keys, comma-separated, the newest first."""
        self._fernet = MultiFernet([Fernet(key.strip()) for key in keys.split(",")])

    def seal(self, credentials: Mapping[str, str]) -> bytes:
        return self._fernet.encrypt(orjson.dumps(dict(credentials)))

    def unseal(self, sealed: bytes) -> dict[str, str]:
        credentials: dict[str, str] = orjson.loads(self._fernet.decrypt(sealed))
        return credentials


class _Unknown(Exception):
    """Carries the outcome of a sick channel past the breaker, which counts exceptions."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


class _NoPlace(Exception):
    """Every place of the channel is taken."""


class GuardedConnector:
    """A connector that leaves a sick channel alone: an order is declined softly, since nothing was sent."""

    def __init__(self, channel_id: str, inner: Connector, breaker: Breaker) -> None:
        self._channel_id = channel_id
        self._inner = inner
        self._breaker = breaker
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def charge(self, order: ChargeOrder) -> Outcome:
        return await self._guard("charge", lambda: self._inner.charge(order), is_order=True)

    async def query(self, order: SentOrder) -> Outcome:
        return await self._guard("query", lambda: self._inner.query(order))

    async def close(self, order: SentOrder) -> Outcome:
        return await self._guard("close", lambda: self._inner.close(order))

    async def capture(self, order: CaptureOrder) -> Outcome:
        # As for a refund: the same number may have been sent before.
        return await self._guard("capture", lambda: self._inner.capture(order))

    async def query_capture(self, order: SentOrder) -> Outcome:
        return await self._guard("query_capture", lambda: self._inner.query_capture(order))

    async def refund(self, order: RefundOrder) -> Outcome:
        # The same refund number may have been sent before the breaker opened: not sent now is no refusal.
        return await self._guard("refund", lambda: self._inner.refund(order))

    async def query_refund(self, order: SentOrder) -> Outcome:
        return await self._guard("query_refund", lambda: self._inner.query_refund(order))

    async def payout(self, order: PayoutOrder) -> Outcome:
        return await self._guard("payout", lambda: self._inner.payout(order))

    async def query_payout(self, order: SentOrder) -> Outcome:
        return await self._guard("query_payout", lambda: self._inner.query_payout(order))

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        return self._inner.parse_callback(headers, body, now)

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        return self._inner.acknowledge(ok=ok, message=message)

    async def fetch_bill(self, business_date: date) -> BillFile:
        return await self._inner.fetch_bill(business_date)

    async def balance(self) -> Balance:
        return await self._inner.balance()

    async def _guard(
        self, operation: str, send: Callable[[], Awaitable[Outcome]], *, is_order: bool = False
    ) -> Outcome:
        async def call() -> Outcome:
            outcome = await send()
            # An order that could not even be sent is softly declined, and the channel no less sick.
            if outcome.kind is OutcomeKind.UNKNOWN or outcome.code == CHANNEL_UNREACHABLE:
                raise _Unknown(outcome)
            return outcome

        started_s = time.perf_counter()
        try:
            async with self._place():
                outcome = await self._breaker.call(call, is_failure=_is_unknown)
        except _Unknown as unknown:
            outcome = unknown.outcome
        except (BreakerOpen, _NoPlace) as unsent:
            kind = OutcomeKind.DECLINED_SOFT if is_order else OutcomeKind.UNKNOWN
            code = NO_PLACE if isinstance(unsent, _NoPlace) else CIRCUIT_OPEN
            outcome = Outcome(kind=kind, code=code)
        latency.labels(self._channel_id, operation).observe(time.perf_counter() - started_s)
        calls.labels(self._channel_id, operation, outcome.kind.value).inc()
        return outcome

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the channel's places. Raises _NoPlace when none comes free in time."""
        try:
            async with asyncio.timeout(PLACE_WAIT_MAX_S):
                await self._in_flight.acquire()
        except TimeoutError:
            raise _NoPlace from None
        try:
            yield
        finally:
            self._in_flight.release()


@dataclass(frozen=True, slots=True)
class _Built:
    stored: StoredChannel
    connector: GuardedConnector


class Directory:
    """Every channel's connector, by id."""

    def __init__(
        self,
        *,
        rows: ChannelRows,
        sealer: FernetSealer,
        http: ChannelHttp,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._rows = rows
        self._sealer = sealer
        self._http = http
        self._clock = clock
        self._timeout_s = timeout_s
        self._built: dict[str, _Built] = {}

    async def connector(self, channel_id: str) -> Connector:
        if channel_id not in self._built:
            await self.refresh()
        if channel_id not in self._built:
            raise ChannelNotFound(channel_id=channel_id)
        return self._built[channel_id].connector

    async def renew(self, channel_id: str) -> None:
        self._built.pop(channel_id, None)
        await self.refresh()

    async def refresh(self) -> None:
        """Builds what is new or has changed; a changed row must not lose its breaker's memory for nothing."""
        for stored in await self._rows.list_channels("", CHANNELS_MAX):
            channel_id = stored.account.channel_id
            known = self._built.get(channel_id)
            if known is None or known.stored.updated_at != stored.updated_at:
                try:
                    self._built[channel_id] = _Built(stored, self._build(stored))
                except (ChannelMisconfigured, InvalidToken) as error:
                    # One unusable row must not take the other channels down; what worked goes on.
                    _log.error("channel unusable", channel_id=channel_id, error=repr(error))

    def check(self, account: ChannelAccount, credentials: Mapping[str, str]) -> None:
        """Builds a connector and drops it. Raises ChannelMisconfigured, MethodNotOffered."""
        self._connector(account, credentials)
        provider = registry.get(account.provider)
        for index, method in enumerate(account.methods):
            if method not in provider.capabilities.methods:
                raise MethodNotOffered(
                    f"{provider.name} does not offer {method}",
                    field=f"channel_account.methods[{index}]",
                )

    def offers(self, channel_id: str, method: str, feature: Feature) -> bool:
        """Of a channel that this replica has not heard of yet, yes: its connector will tell."""
        if channel_id not in self._built:
            return True
        account = self._built[channel_id].stored.account
        is_used = not account.methods or method in account.methods
        return is_used and registry.get(account.provider).capabilities.offers(method, feature)

    async def keep_fresh(self) -> None:
        """Background loop: notices what other replicas were told."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_INTERVAL_S)

    def _build(self, stored: StoredChannel) -> GuardedConnector:
        account = stored.account
        inner = self._connector(account, self._sealer.unseal(stored.sealed_credentials))
        breaker = Breaker(
            account.channel_id, slow_call_s=SLOW_CALL_S, open_s=BREAKER_OPEN_S, clock=self._clock
        )
        return GuardedConnector(account.channel_id, inner, breaker)

    def _connector(self, account: ChannelAccount, credentials: Mapping[str, str]) -> Connector:
        wiring = Wiring(
            channel_id=account.channel_id,
            base_url=account.base_url,
            credentials=credentials,
            http=self._http,
            clock=self._clock,
            new_nonce=lambda: secrets.token_hex(16),
            timeout_s=self._timeout_s,
        )
        return registry.build(account.provider, wiring)


def _is_unknown(error: BaseException) -> bool:
    return isinstance(error, _Unknown)
