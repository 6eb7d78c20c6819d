"""Who finds no place is turned away at the door: nothing of the call is read, and the caller learns when to come back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from prometheus_client import REGISTRY

from fisc.gateway.v1 import payment_pb2, payment_pb2_grpc
from libs.errors import ErrorKind, FiscError
from libs.rpc import client, server
from services.gateway.handlers.admission import RETRY_AFTER_S, Doorkeeper, Gate


class House(payment_pb2_grpc.PaymentServiceServicer):
    """What stands behind the door."""

    def __init__(self) -> None:
        self.calls_count = 0

    async def CreatePayment(
        self, request: payment_pb2.CreatePaymentRequest, context: object
    ) -> payment_pb2.CreatePaymentResponse:
        self.calls_count += 1
        return payment_pb2.CreatePaymentResponse()

    async def GetPayment(
        self, request: payment_pb2.GetPaymentRequest, context: object
    ) -> payment_pb2.GetPaymentResponse:
        self.calls_count += 1
        return payment_pb2.GetPaymentResponse()


@asynccontextmanager
async def behind_the_door(
    gate: Gate,
) -> "AsyncIterator[tuple[House, payment_pb2_grpc.PaymentServiceAsyncStub]]":
    house = House()  # type: ignore[abstract]  # nobody calls the others
    async with (
        server.running(
            registrations=[
                lambda to: payment_pb2_grpc.add_PaymentServiceServicer_to_server(house, to)
            ],
            outer_interceptors=[Doorkeeper(gate)],
        ) as target,
        grpc.aio.insecure_channel(target) as channel,
    ):
        yield house, payment_pb2_grpc.PaymentServiceStub(channel)


def handled() -> float:
    labels = {
        "grpc_type": "unary",
        "grpc_service": "fisc.gateway.v1.PaymentService",
        "grpc_method": "CreatePayment",
        "grpc_code": "ResourceExhausted",
    }
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0


async def test_a_call_without_a_place_is_told_when_to_come_back_and_counted() -> None:
    gate = Gate(in_flight_max=1, share_max=1)
    before = handled()
    async with behind_the_door(gate) as (house, stub):
        with gate.place():
            for _ in range(2):
                with pytest.raises(FiscError) as error:
                    # Not even valid: it is refused before anybody looks.
                    await client.call(
                        stub.CreatePayment, payment_pb2.CreatePaymentRequest(), timeout_s=5
                    )
                assert error.value.kind is ErrorKind.EXHAUSTED
                assert (error.value.reason, error.value.retry_after_s) == (
                    "OVERLOADED",
                    RETRY_AFTER_S,
                )
                assert error.value.metadata == {"limit": "in_flight"}
    assert (house.calls_count, handled() - before) == (0, 2)


async def test_who_finds_a_place_and_who_begins_nothing_new_goes_in() -> None:
    gate = Gate(in_flight_max=1, share_max=1)
    async with behind_the_door(gate) as (house, stub):
        with gate.place():
            request = payment_pb2.GetPaymentRequest(payment_id="pay_1")
            await client.call(stub.GetPayment, request, timeout_s=5)
        with pytest.raises(FiscError) as error:
            await client.call(stub.CreatePayment, payment_pb2.CreatePaymentRequest(), timeout_s=5)
    assert error.value.kind is ErrorKind.INVALID
    assert house.calls_count == 1
