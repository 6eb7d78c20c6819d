"""Merchants who take payments at a running suite: what every run of end-to-end load calls."""

import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from deploy.local.environment import LocalSettings
from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2
from tests.bench import readings
from tests.bench.readings import Reading
from tests.integration.gateway.house import House, open_house

CARD = method_pb2.PAYMENT_METHOD_CARD
MONEY = money_pb2.Money(currency="CNY", amount_minor=1999)
# No merchant may have more than half of the gateway's places.
MERCHANTS = 4
CHANNELS = 2
TIMEOUT_S = 20.0

Call = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Till:
    """A suite with merchants and channels."""

    house: House
    settings: LocalSettings
    pids: Mapping[str, int]
    keys: tuple[tuple[tuple[str, str], ...], ...]

    def pay(self) -> Call:
        """A caller with one payment a call; true when it has succeeded."""
        keys = itertools.cycle(self.keys)

        async def call() -> bool:
            try:
                response = await self.house.payments.CreatePayment(
                    _request(), timeout=TIMEOUT_S, metadata=next(keys)
                )
            except grpc.aio.AioRpcError:
                return False
            return response.payment.state == payment_pb2.Payment.STATE_SUCCEEDED

        return call

    def pay_many(self, count: int) -> Call:
        """A caller with so many payments a call; true when all of them have succeeded."""
        keys = itertools.cycle(self.keys)

        async def call() -> bool:
            batch = payment_pb2.BatchCreatePaymentsRequest(
                requests=[_request() for _ in range(count)]
            )
            try:
                response = await self.house.payments.BatchCreatePayments(
                    batch, timeout=TIMEOUT_S, metadata=next(keys)
                )
            except grpc.aio.AioRpcError:
                return False
            succeeded = payment_pb2.Payment.STATE_SUCCEEDED
            return all(result.payment.state == succeeded for result in response.results)

        return call

    async def read(self) -> Reading:
        """All counters now."""
        return await readings.read(self.settings, self.pids)

    async def lags_s(self) -> dict[str, float]:
        """How far each reader of an event log is behind."""
        return await readings.lags_s(self.settings, self.pids)


@asynccontextmanager
async def opened(settings: LocalSettings, pids: Mapping[str, int]) -> AsyncIterator[Till]:
    """Merchants, and channels that answer at once."""
    async with open_house(settings) as house:
        keys = []
        for _ in range(MERCHANTS):
            await house.new_merchant()
            keys.append(house.key)
        for _ in range(CHANNELS):
            await house.new_channel(CARD, notify_immediate=False)
        yield Till(house=house, settings=settings, pids=pids, keys=tuple(keys))


def _request() -> payment_pb2.CreatePaymentRequest:
    return payment_pb2.CreatePaymentRequest(
        request_id=secrets.token_hex(12), amount=MONEY, method=CARD
    )
