"""A payout file goes on wherever its worker dies, and whichever replica has it: each row is paid once, and all books agree."""

import dataclasses
import signal
from collections import Counter

import grpc
import pytest

from fisc.gateway.v1 import bulk_pb2
from libs.testing import eventually
from tests.chaos import audit
from tests.chaos.storms import second_gateway
from tests.chaos.world import World, running_world
from tests.integration.gateway import papers
from tests.integration.gateway.house import House
from tests.integration.gateway.papers import F, R

ROWS = 400
# A lease has to run out, and a program to start again.
PATIENCE_S = 90.0


@pytest.mark.timeout(300)
async def test_a_file_survives_the_death_of_its_worker_and_no_row_is_paid_twice() -> None:
    async with running_world() as world:
        await dies_at(world, "K20")
        await dies_at(world, "K21", hits=3)
        await goes_on_elsewhere(world)

        await world.calm(2.0)

        async def books_agree() -> bool:
            # Clearing hears of everything a little later.
            return await audit.audit(world) == []

        await eventually(books_agree, PATIENCE_S)


async def dies_at(world: World, point: str, hits: int = 1) -> None:
    """The gateway dies at this point; the one that comes after it ends the file."""
    await world.rested("gateway")
    await world.serving()
    house = await funded(world)
    world.arm(point, hits)
    file_id = await sent(house)
    fired = await world.wait_fired(PATIENCE_S)
    assert fired is not None, f"{point} was never reached"
    world.died("gateway", fired[1])
    await is_paid_once(world, house, file_id)


async def goes_on_elsewhere(world: World) -> None:
    """Of two replicas at work one is killed in the middle of a file."""
    await world.rested("gateway")
    await world.serving()
    house = await funded(world)
    async with second_gateway(world):
        file_id = await sent(house)

        async def is_half_way() -> bool:
            file = await papers.get(house, file_id)
            return file.started.count > ROWS // 4

        await eventually(is_half_way, PATIENCE_S)
        world.kill("gateway", signal.SIGKILL)
        await is_paid_once(world, house, file_id)


async def funded(world: World) -> House:
    house = dataclasses.replace(world.house)
    await house.new_merchant()
    await house.fund(ROWS * 100)
    return house


async def sent(house: House) -> str:
    data = papers.paper(ROWS)
    file = await papers.send(house, data, ROWS, ROWS * 100)
    return file.payout_file_id


async def is_paid_once(world: World, house: House, file_id: str) -> None:
    async def has_ended() -> bulk_pb2.PayoutFile | None:
        try:
            file = await papers.get(house, file_id)
        except grpc.aio.AioRpcError:
            return None
        return file if file.state in papers.ENDED else None

    done = await eventually(has_ended, PATIENCE_S)
    assert done is not None
    assert (done.state, done.succeeded.count, done.started.count) == (F.STATE_COMPLETED, ROWS, ROWS)
    rows = await papers.rows_of(house, file_id)
    assert Counter(row.state for row in rows) == {R.STATE_SUCCEEDED: ROWS}
    payouts = await world.pools["gateway"].fetchval(
        "SELECT count(*) FROM payout WHERE merchant_id = $1", house.merchant_id
    )
    assert payouts == ROWS

    async def is_empty() -> bool:
        balance = await house.balance(f"merchant/{house.merchant_id}/available/CNY")
        return (balance.posted_minor, balance.held_minor) == (0, 0)

    await eventually(is_empty, PATIENCE_S)
