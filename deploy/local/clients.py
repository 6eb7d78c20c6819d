"""What the command line speaks to: the services of a running suite, and the sandbox's controls."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime
from typing import Any, Final, Self, TypeVar

import grpc
import httpx

from deploy.local.environment import LocalSettings
from deploy.local.errors import LocalError
from deploy.local.suite import operator_token
from fisc.account.v1 import account_pb2_grpc, treasury_pb2, treasury_pb2_grpc
from fisc.clearing.v1 import clearing_pb2_grpc
from fisc.common.v1 import events_pb2_grpc
from fisc.gateway.v1 import operations_pb2_grpc, payment_pb2_grpc
from fisc.notification.v1 import notification_pb2_grpc
from fisc.risk.v1 import risk_pb2_grpc
from fisc.router.v1 import router_pb2_grpc
from libs.errors import FiscError
from libs.rpc import client
from libs.rpc.convert import to_timestamp

CALL_TIMEOUT_S: Final = 15.0
STREAM_TIMEOUT_S: Final = 600.0
PAGE_SIZE: Final = 1000
SERVICES: Final = ("gateway", "router", "risk", "account", "clearing", "notification")

Metadata = tuple[tuple[str, str], ...]
Request = TypeVar("Request")
Response = TypeVar("Response")


class Platform:
    """Stubs of every service of one suite: `async with Platform(settings) as platform:`."""

    def __init__(self, settings: LocalSettings) -> None:
        self.settings = settings
        self._channels = {
            service: client.open_channel(
                f"{settings.host}:{settings.port(service)}", peer="command-line"
            )
            for service in SERVICES
        }
        gateway = self._channels["gateway"]
        self.payments = payment_pb2_grpc.PaymentServiceStub(gateway)
        self.operations = operations_pb2_grpc.OperationsServiceStub(gateway)
        self.gateway_events = events_pb2_grpc.EventFeedServiceStub(gateway)
        self.router = router_pb2_grpc.RouterServiceStub(self._channels["router"])
        self.risk = risk_pb2_grpc.RiskServiceStub(self._channels["risk"])
        self.account = account_pb2_grpc.AccountServiceStub(self._channels["account"])
        self.treasury = treasury_pb2_grpc.TreasuryServiceStub(self._channels["account"])
        self.clearing = clearing_pb2_grpc.ClearingServiceStub(self._channels["clearing"])
        self.notification = notification_pb2_grpc.NotificationServiceStub(
            self._channels["notification"]
        )
        self.sandbox = Sandbox(f"http://{settings.host}:{settings.port('sandbox')}")
        self.operator: Metadata = bearer(operator_token(settings.data_dir))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sandbox.close()
        for channel in self._channels.values():
            await channel.close(None)

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        metadata: Metadata | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Response:
        """Make a unary call, as the operator unless told otherwise. Raises FiscError."""
        return await client.call(
            method,
            request,
            timeout_s=timeout_s,
            metadata=self.operator if metadata is None else metadata,
        )

    async def pages(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Any, Any], request: Any, field: str
    ) -> AsyncIterator[Any]:
        """Every item of a paged list."""
        request.page_size = PAGE_SIZE
        while True:
            answer = await self.call(method, request)
            for item in getattr(answer, field):
                yield item
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def mirrors(self, at: datetime | None = None) -> list[treasury_pb2.Mirror]:
        """Every real account beside the ledger, now or at a past moment. Raises grpc.RpcError."""
        request = treasury_pb2.StreamMirrorsRequest(at_time=to_timestamp(at) if at else None)
        stream = self.treasury.StreamMirrors(
            request, timeout=STREAM_TIMEOUT_S, metadata=self.operator
        )
        return [mirror async for answer in stream for mirror in answer.mirrors]

    async def check_reachable(self) -> None:
        """Raise LocalError with what to do when no suite answers here."""
        try:
            await self.sandbox.health()
        except httpx.HTTPError as error:
            raise LocalError(
                f"No suite answers on {self.settings.host}:{self.settings.base_port} and up. "
                "Start one with `fisc up`, or name its ports with FISC_BASE_PORT=<number>."
            ) from error


class Sandbox:
    """The sandbox's control API. Raises httpx.HTTPError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(base_url=f"{url}/control", trust_env=False, timeout=10.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def health(self) -> Any:
        """Whether it answers."""
        return await self._send("GET", "/health")

    async def set_clock(self, now: datetime | None) -> None:
        """Set the time the outside world believes; None returns it to the real time."""
        await self._send("POST", "/clock", {"now": None if now is None else now.isoformat()})

    async def register(self, account: dict[str, Any]) -> Any:
        """Register a merchant with a provider; idempotent."""
        return await self._send("POST", "/accounts", account)

    async def accounts(self) -> list[dict[str, Any]]:
        """Every account with its profile and balance."""
        return list(await self._send("GET", "/accounts"))

    async def add_fault(self, account_id: str, fault: str, **more: Any) -> None:
        """Order a fault."""
        await self._send("POST", "/faults", {"account_id": account_id, "fault": fault, **more})

    async def clear_faults(self, account_id: str) -> None:
        """Lift an account's faults."""
        await self._send("DELETE", f"/faults?account_id={account_id}")

    async def faults(self) -> dict[str, list[dict[str, Any]]]:
        """The faults that struck, and those still ordered: `fired` and `standing`."""
        return dict(await self._send("GET", "/faults"))

    async def book(self, day: date) -> list[dict[str, Any]]:
        """What really happened that day, by the sandbox's own book."""
        return list(await self._send("GET", f"/book?date={day.isoformat()}"))

    async def callbacks(self, account_id: str) -> list[dict[str, Any]]:
        """Notifications of an account, and how often each was delivered."""
        return list(await self._send("GET", f"/callbacks?account_id={account_id}"))

    async def _send(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self._http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()


def bearer(secret: str) -> Metadata:
    """The metadata that carries a key or token."""
    return (("authorization", f"Bearer {secret}"),)


def describe(error: FiscError) -> str:
    """A service's refusal in one line."""
    field = f" ({error.field})" if error.field else ""
    return f"{error.reason}{field}: {error.message}"


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what a service or the sandbox refuses into a message for the operator."""
    try:
        yield
    except ExceptionGroup as group:
        first = group.exceptions[0]
        raise LocalError(f"{what}: {type(first).__name__}: {first}") from group
    except FiscError as error:
        raise LocalError(f"{what}: {describe(error)}") from error
    except grpc.aio.AioRpcError as error:
        raise LocalError(f"{what}: {error.code().name}: {error.details()}") from error
    except httpx.HTTPError as error:
        raise LocalError(f"{what}: the sandbox says {error!r}") from error
