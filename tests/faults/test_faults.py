"""A share of `make faults` that fits into every run of the tests, and the gate of an overloaded gateway."""

import asyncio
import random
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from libs.testing.proxy import Latency
from tests.chaos import audit
from tests.faults import cases
from tests.faults.cases import Case
from tests.faults.load import RATE, Call, Load
from tests.faults.world import World, standing
from tests.integration.gateway.house import TIMEOUT_S, House, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

MERCHANT_IN_FLIGHT_MAX = 30
FAULT_S = 2.0
# The longest to settle first: after a lost database only a lease of 15 s brings a saga back.
CASES = (
    Case(edge="postgres", toxic="reset"),
    Case(edge="channel", toxic="reset"),
    Case(edge="risk", toxic="reset"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    environ = {"FISC_GATEWAY_MERCHANT_IN_FLIGHT_MAX": str(MERCHANT_IN_FLIGHT_MAX)}
    async with standing(tmp_path_factory.mktemp("faults"), environ=environ) as running:
        yield running


async def test_what_faults_of_the_wires_leave_undone_is_done_once_when_they_heal(
    world: World,
) -> None:
    async with asyncio.TaskGroup() as group:
        settling = []
        for number, case in enumerate(CASES):
            struck = await cases.strike(world, case, number, lasts_s=FAULT_S)
            # What is left over may end while the next wire is struck already.
            settling.append(group.create_task(cases.settle(world, struck)))
    findings = [task.result() for task in settling]

    assert [f"{one.case.name}: {each}" for one in findings for each in one.violations] == []
    assert min(finding.calls for finding in findings) > RATE * FAULT_S
    assert await audit.audit(world.books) == []


async def test_a_burst_beyond_a_merchants_share_is_refused_before_anything_is_written(
    world: World,
) -> None:
    house = await world.new_house()
    load = Load(house, random.Random(1))
    burst = [load.pay() for _ in range(2 * MERCHANT_IN_FLIGHT_MAX)]
    slow = world.proxies["channel"].poisoned(Latency(delay_s=0.5))
    async with slow, asyncio.TaskGroup() as group:
        asking = [group.create_task(ask(house, call)) for call in burst]
        reading = group.create_task(count_payments(house))
    refusals = [error for task in asking if (error := task.result()) is not None]

    assert len(refusals) == len(burst) - MERCHANT_IN_FLIGHT_MAX
    assert {error.code() for error in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert {reason_of(error) for error in refusals} == {"OVERLOADED"}
    assert min(map(retry_after_s, refusals)) > 0
    assert reading.result() <= MERCHANT_IN_FLIGHT_MAX
    assert await count_payments(house) == MERCHANT_IN_FLIGHT_MAX
    rejected = await world.metric("gateway", "admission_rejected_total", reason="merchant_share")
    assert rejected >= len(refusals)

    for call in burst:
        assert await ask(house, call) is None
    assert await count_payments(house) == len(burst)
    await eventually(lambda: audit.clean(world.books, house.merchant_id), TIMEOUT_S)


async def ask(house: House, call: Call) -> grpc.aio.AioRpcError | None:
    """How a payment was refused."""
    try:
        await house.payments.CreatePayment(call.request, timeout=TIMEOUT_S, metadata=house.key)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def count_payments(house: House) -> int:
    response = await house.payments.ListPayments(
        payment_pb2.ListPaymentsRequest(), timeout=TIMEOUT_S, metadata=house.key
    )
    return len(response.payments)


def retry_after_s(error: grpc.aio.AioRpcError) -> float:
    """What the server says of when to come back; 0 when it says nothing."""
    status = rpc_status.from_call(error)  # type: ignore[no-untyped-call]  # no stubs
    info = error_details_pb2.RetryInfo()
    found = status is not None and any(detail.Unpack(info) for detail in status.details)
    return info.retry_delay.ToNanoseconds() / 1e9 if found else 0.0
