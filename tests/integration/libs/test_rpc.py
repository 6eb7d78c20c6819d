"""Client and server of libs.rpc, talking over a real connection on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import prometheus_client
import pytest
from google.protobuf import empty_pb2, wrappers_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fisc.common.v1 import events_pb2
from libs.errors import (
    DeadlineExceeded,
    ErrorKind,
    FiscError,
    InvalidArgument,
    Overloaded,
    RemoteError,
    Unavailable,
)
from libs.resilience.breaker import Breaker, BreakerOpen
from libs.rpc import client, deadline, request_id, server

SERVICE = "fisc.test.v1.Test"
Behaviour = Callable[[Any, Any], Any]


class NoSuchPaymentError(FiscError):
    """There is no such payment."""

    kind = ErrorKind.NOT_FOUND
    reason = "PAYMENT_NOT_FOUND"


class Peer:
    """A server whose one unary method, and one stream, a test may set; and a channel to it."""

    def __init__(self) -> None:
        self.unary: Behaviour = self._answer
        self.stream: Behaviour = self._answer
        self.channel: grpc.aio.Channel

    async def _answer(self, _request: Any, _context: Any) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def register(self, to: grpc.aio.Server) -> None:
        async def unary(request: Any, context: Any) -> Any:
            return await self.unary(request, context)

        async def stream(request: Any, context: Any) -> Any:
            async for message in self.stream(request, context):
                yield message

        to.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "Unary": grpc.unary_unary_rpc_method_handler(
                            unary,
                            request_deserializer=events_pb2.StreamEventsRequest.FromString,
                            response_serializer=lambda message: message.SerializeToString(),
                        ),
                        "Stream": grpc.unary_stream_rpc_method_handler(
                            stream,
                            request_deserializer=events_pb2.StreamEventsRequest.FromString,
                            response_serializer=lambda message: message.SerializeToString(),
                        ),
                    },
                ),
            )
        )

    @property
    def method(self) -> Any:
        return self.channel.unary_unary(
            f"/{SERVICE}/Unary",
            request_serializer=events_pb2.StreamEventsRequest.SerializeToString,
            response_deserializer=wrappers_pb2.StringValue.FromString,
        )

    async def call(self, timeout_s: float = 5.0, **options: Any) -> Any:
        return await client.call(
            self.method, events_pb2.StreamEventsRequest(), timeout_s=timeout_s, **options
        )


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    async with server.running(registrations=[made.register], service_names=[SERVICE]) as target:
        made.channel = client.open_channel(target, peer="test")
        yield made
        await made.channel.close()


def _raises(error: BaseException) -> Behaviour:
    async def behave(_request: Any, _context: Any) -> Any:
        raise error

    return behave


def _answers(text: Callable[[], object]) -> Behaviour:
    async def behave(_request: Any, _context: Any) -> wrappers_pb2.StringValue:
        return wrappers_pb2.StringValue(value=str(text()))

    return behave


async def test_an_error_of_the_handler_reaches_the_caller_with_all_its_parts(peer: Peer) -> None:
    peer.unary = _raises(NoSuchPaymentError("no pay_1", field="payment_id", payment_id="pay_1"))
    with pytest.raises(RemoteError) as raised:
        await peer.call()
    error = raised.value
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "PAYMENT_NOT_FOUND")
    assert (error.message, error.field) == ("no pay_1", "payment_id")
    assert error.metadata == {"payment_id": "pay_1"}


async def test_an_overloaded_server_says_when_to_come_back(peer: Peer) -> None:
    peer.unary = _raises(Overloaded(retry_after_s=0.25))
    with pytest.raises(RemoteError) as raised:
        await peer.call()
    assert raised.value.kind is ErrorKind.EXHAUSTED
    assert raised.value.retry_after_s == 0.25


async def test_a_bug_shows_the_caller_only_a_correlation_id(peer: Peer) -> None:
    peer.unary = _raises(ZeroDivisionError("the secret is 42"))
    with pytest.raises(RemoteError) as raised:
        await peer.call(metadata=(("x-request-id", "req-7"),))
    assert raised.value.kind is ErrorKind.INTERNAL
    assert raised.value.reason == "INTERNAL"
    assert raised.value.metadata == {"correlation_id": "req-7"}
    assert "42" not in raised.value.message


async def test_a_lost_connection_inside_is_unavailable_not_a_bug(peer: Peer) -> None:
    peer.unary = _raises(ConnectionResetError())
    with pytest.raises(RemoteError) as raised:
        await peer.call()
    assert raised.value.kind is ErrorKind.UNAVAILABLE


async def test_a_handler_may_abort_by_itself(peer: Peer) -> None:
    async def abort(_request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")

    peer.unary = abort
    with pytest.raises(RemoteError, match="not now") as raised:
        await peer.call()
    assert raised.value.kind is ErrorKind.REJECTED


async def test_a_call_without_deadline_is_refused(peer: Peer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await peer.method(events_pb2.StreamEventsRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_details_pb2.ErrorInfo()
    assert _status_of(raised.value).details[0].Unpack(info)
    assert (info.reason, info.domain) == ("DEADLINE_REQUIRED", "fisc")


async def test_probes_need_no_deadline(peer: Peer) -> None:
    stub = health_pb2_grpc.HealthStub(peer.channel)  # type: ignore[no-untyped-call]  # no stubs
    for name in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_process_without_its_database_is_alive_but_not_ready() -> None:
    running = server.RpcServer(registrations=[], service_names=[SERVICE])
    await running.start()
    channel = client.open_channel(running.target, peer="test")
    stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]  # no stubs

    async def answers() -> list[str]:
        names = ("liveness", "", SERVICE)
        requests = [health_pb2.HealthCheckRequest(service=name) for name in names]
        statuses = [(await stub.Check(request)).status for request in requests]
        return [health_pb2.HealthCheckResponse.ServingStatus.Name(status) for status in statuses]

    try:
        at_start = await answers()
        await running.set_serving(is_serving=True)
        when_ready = await answers()
        await running.set_serving(is_serving=False)
        database_away = await answers()
    finally:
        await channel.close()
        await running.stop()

    assert at_start == ["SERVING", "NOT_SERVING", "NOT_SERVING"]
    assert when_ready == ["SERVING", "SERVING", "SERVING"]
    assert database_away == at_start


async def test_a_request_against_its_contract_is_refused_with_every_violation(peer: Peer) -> None:
    request = events_pb2.StreamEventsRequest(cursor="x" * 65, batch_max=-1)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await peer.method(request, timeout=5)
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in _status_of(raised.value).details)
    assert [violation.field for violation in bad_request.field_violations] == [
        "cursor",
        "batch_max",
    ]
    with pytest.raises(RemoteError) as mapped:
        await client.call(peer.method, request, timeout_s=5)
    assert mapped.value.reason == InvalidArgument.reason
    assert mapped.value.field == "cursor"


async def test_the_handler_sees_the_deadline_capped(peer: Peer) -> None:
    peer.unary = _answers(deadline.remaining_s)
    short_s = float((await peer.call(timeout_s=2)).value)
    assert 1 < short_s <= 2.1
    capped_s = float((await peer.call(timeout_s=3600)).value)
    assert 29 < capped_s <= 30


async def test_a_call_onward_takes_no_longer_than_the_caller_waits(peer: Peer) -> None:
    async def wait(_request: Any, _context: Any) -> Any:
        await asyncio.sleep(5)

    peer.unary = wait
    started_s = time.monotonic()
    with deadline.within(0.2), pytest.raises(DeadlineExceeded):
        await peer.call(timeout_s=5)
    assert time.monotonic() - started_s < 2


async def test_nothing_is_sent_when_no_time_is_left(peer: Peer) -> None:
    arrived = False

    async def arrive(_request: Any, _context: Any) -> Any:
        nonlocal arrived
        arrived = True

    peer.unary = arrive
    with deadline.within(0.0), pytest.raises(DeadlineExceeded, match="nothing was sent"):
        await peer.call()
    with deadline.within(0.0), deadline.detached():
        assert deadline.remaining_s() is None
    assert not arrived


async def test_the_request_id_travels_on_and_is_made_where_missing(peer: Peer) -> None:
    peer.unary = _answers(request_id.current)
    made = (await peer.call()).value
    assert len(made) == 32
    assert (await peer.call(metadata=(("x-request-id", "req-1"),))).value == "req-1"
    assert (await peer.call(metadata=(("x-request-id", "x" * 65),))).value != "x" * 65

    async def call_onward() -> str:
        request_id.enter("req-2")
        return str((await peer.call()).value)

    assert await asyncio.create_task(call_onward()) == "req-2"


async def test_a_peer_that_is_gone_is_unavailable_and_opens_the_breaker() -> None:
    async with server.running(registrations=[]) as target:
        pass
    made = Peer()
    made.channel = client.open_channel(target, peer="gone")
    breaker = Breaker("gone", consecutive_failures_max=2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await made.call(breaker=breaker)
    with pytest.raises(BreakerOpen):
        await made.call(breaker=breaker)
    await made.channel.close()


async def test_a_refusal_does_not_open_the_breaker(peer: Peer) -> None:
    peer.unary = _raises(NoSuchPaymentError())
    breaker = Breaker("refusing", consecutive_failures_max=2)
    for _ in range(5):
        with pytest.raises(RemoteError):
            await peer.call(breaker=breaker)
    assert breaker.state == "closed"


async def test_errors_in_the_middle_of_a_stream_are_mapped_too(peer: Peer) -> None:
    async def stream(_request: Any, _context: Any) -> AsyncIterator[Any]:
        yield wrappers_pb2.StringValue(value="first")
        raise NoSuchPaymentError

    peer.stream = stream
    method: Any = peer.channel.unary_stream(
        f"/{SERVICE}/Stream",
        request_serializer=events_pb2.StreamEventsRequest.SerializeToString,
        response_deserializer=wrappers_pb2.StringValue.FromString,
    )
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for message in method(events_pb2.StreamEventsRequest()):
            received.append(message.value)  # noqa: PERF401 -- what came before the error counts
    assert received == ["first"]
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_both_sides_count_calls_by_code(peer: Peer) -> None:
    labels = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "Unary"}

    def count(side: str, code: str) -> float:
        name = f"grpc_{side}_handled_total"
        return prometheus_client.REGISTRY.get_sample_value(name, {**labels, "grpc_code": code}) or 0

    before = {
        (side, code): count(side, code)
        for side in ("server", "client")
        for code in ("OK", "NotFound")
    }
    await peer.call()
    peer.unary = _raises(NoSuchPaymentError())
    with pytest.raises(RemoteError):
        await peer.call()
    after = {key: count(*key) - value for key, value in before.items()}
    assert set(after.values()) == {1}


async def test_a_burst_beyond_the_defaults_of_grpc_is_served_whole(peer: Peer) -> None:
    async def wait(_request: Any, _context: Any) -> empty_pb2.Empty:
        await asyncio.sleep(0.01)
        return empty_pb2.Empty()

    peer.unary = wait
    async with asyncio.TaskGroup() as group:
        for _ in range(4_000):
            group.create_task(peer.call(timeout_s=25))


async def test_a_second_server_on_the_port_is_refused() -> None:
    first = server.RpcServer(registrations=[])
    await first.start()
    second = server.RpcServer(registrations=[], port=first.port)
    with pytest.raises(server.PortTaken, match=str(first.port)):
        await second.start()
    await first.stop()


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    (details,) = (
        value
        for key, value in error.trailing_metadata()
        if key == "grpc-status-details-bin" and isinstance(value, bytes)
    )
    return status_pb2.Status.FromString(details)
