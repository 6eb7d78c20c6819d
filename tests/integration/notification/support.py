"""What the tests of notification share: a merchant's receiver, and short words for frequent calls."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar, cast

import grpc
import pytest

from deploy.local.process import ROOT
from fisc.notification.v1 import notification_pb2 as pb
from fisc.notification.v1 import notification_pb2_grpc
from libs.clock import FrozenClock
from libs.errors import RemoteError
from libs.rpc import client
from services.notification import store
from services.notification.domain.notice import Notice
from services.notification.usecases.deliveries import Deliveries
from services.notification.usecases.fanout import Fanout
from services.notification.workers import DeliveryWorker

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TIMEOUT_S = 10.0
# The tests' own schedule: long enough that only a moved clock makes a retry due.
RETRY_DELAYS_S = (60.0, 600.0)
LEASE_S = 30.0

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request that a receiver got."""

    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Receiver:
    """A merchant's HTTP server: answers with the next of `statuses`, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    is_silent: bool = False
    requests: list[Received] = field(default_factory=list)
    open_count: int = 0
    open_max: int = 0
    answer_after_s: float = 0.0

    def ids(self) -> list[str]:
        """The webhook-ids in order."""
        return [each.headers["webhook-id"] for each in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:-1]
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in head)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append(Received(headers=headers, body=body))
            self.open_count += 1
            self.open_max = max(self.open_max, self.open_count)
            try:
                await self._answer(reader, writer)
            finally:
                self.open_count -= 1
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_silent:
            await reader.read()  # until the sender hangs up
            return
        await asyncio.sleep(self.answer_after_s)
        status = self.statuses.pop(0) if self.statuses else 200
        location = f"location: {self.location}\r\n" if self.location else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{location}content-length: 2\r\n\r\nok".encode())
        await writer.drain()


@contextlib.asynccontextmanager
async def receiving(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a free port of loopback."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/hooks"
    try:
        yield receiver
    finally:
        server.close()


class Verify(Protocol):
    """The function that docs/webhooks.md gives to merchants."""

    def __call__(
        self, secret: str, headers: dict[str, str], body: bytes, tolerance_s: int = 300
    ) -> bool: ...


def documented_verify() -> Verify:
    """The code of docs/webhooks.md, run as it stands there."""
    text = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    return cast("Verify", names["verify"])


def notice(
    number: int, event_type: str = "payment.succeeded", merchant_id: str = "mer_1"
) -> Notice:
    """An event of a payment."""
    return Notice(
        event_id=f"evt_{number}",
        event_type=event_type,
        merchant_id=merchant_id,
        subject_id=f"pay_{number}",
        occurred_at=NOON,
        data={"payment_id": f"pay_{number}", "amount_minor": 1230},
    )


@dataclass(kw_only=True)
class Fixture:
    """Notification's stub and worker, with short words for what tests do often."""

    stub: "notification_pb2_grpc.NotificationServiceAsyncStub"
    pool: store.Pool
    clock: FrozenClock
    fanout: Fanout
    deliveries: Deliveries
    make_worker: Callable[[], DeliveryWorker]
    _numbers: int = 0

    async def call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        """Call, or raise RemoteError."""
        return await client.call(method, request, timeout_s=TIMEOUT_S)

    async def refusal(self, call: Awaitable[object]) -> str:
        """The reason that a call must be refused with."""
        with pytest.raises(RemoteError) as caught:
            await call
        return caught.value.reason

    async def create(
        self, url: str, *event_types: str, merchant_id: str = "mer_1", request_id: str = ""
    ) -> pb.CreateEndpointResponse:
        """Register an endpoint."""
        request = pb.CreateEndpointRequest(
            request_id=request_id or self._new("req"),
            endpoint=pb.Endpoint(merchant_id=merchant_id, url=url, event_types=event_types),
        )
        return await self.call(self.stub.CreateEndpoint, request)

    async def update(self, endpoint: pb.Endpoint, request_id: str = "") -> pb.Endpoint:
        """Change an endpoint."""
        request = pb.UpdateEndpointRequest(
            request_id=request_id or self._new("req"), endpoint=endpoint
        )
        return (await self.call(self.stub.UpdateEndpoint, request)).endpoint

    async def endpoint(self, endpoint_id: str) -> pb.Endpoint:
        """An endpoint as listed."""
        listed = await self.call(self.stub.ListEndpoints, pb.ListEndpointsRequest())
        (found,) = (each for each in listed.endpoints if each.endpoint_id == endpoint_id)
        return found

    async def rotate(self, endpoint_id: str, request_id: str = "") -> str:
        """Rotate a secret."""
        request = pb.RotateSecretRequest(
            request_id=request_id or self._new("req"), endpoint_id=endpoint_id
        )
        return (await self.call(self.stub.RotateSecret, request)).secret

    async def tell(self, *notices: Notice) -> None:
        """Take up events, as from a feed."""
        async with self.pool.acquire() as connection, connection.transaction():
            await self.fanout.take(connection, notices)

    async def listed(self, **filters: object) -> list[pb.Delivery]:
        """Deliveries, newest first."""
        request = pb.ListDeliveriesRequest(**filters)  # type: ignore[arg-type]  # as the caller typed it
        return list((await self.call(self.stub.ListDeliveries, request)).deliveries)

    async def get(self, delivery_id: str) -> pb.Delivery:
        """A delivery with its attempts."""
        request = pb.GetDeliveryRequest(delivery_id=delivery_id)
        return (await self.call(self.stub.GetDelivery, request)).delivery

    async def redeliver(self, delivery_id: str, request_id: str = "") -> pb.Delivery:
        """Send again."""
        request = pb.RedeliverRequest(
            request_id=request_id or self._new("req"), delivery_id=delivery_id
        )
        return (await self.call(self.stub.Redeliver, request)).delivery

    async def send_due(self) -> None:
        """Attempt everything that is due, once."""
        while claims := await self.deliveries.claim(count_max=64, endpoint_max=64, in_flight={}):
            async with asyncio.TaskGroup() as attempts:
                for claim in claims:
                    attempts.create_task(self.deliveries.attempt(claim))

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker that runs meanwhile and is then cut off, as by a crash."""
        task = asyncio.create_task(self.make_worker().run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _new(self, prefix: str) -> str:
        self._numbers += 1
        return f"{prefix}_{self._numbers:06}"
