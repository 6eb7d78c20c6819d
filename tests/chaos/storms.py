"""What no single point shows: stores that fall over under load, services killed at random, a replica that wakes as a zombie, a row
that breaks whoever touches it, a state from the next release."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import redis.asyncio

from deploy.local import environment, ports, secrets_file
from deploy.local.environment import LocalSettings
from deploy.local.process import ROOT
from deploy.local.suite import operator_token
from fisc.gateway.v1 import payment_pb2_grpc
from libs import crashpoints
from libs.rpc.client import open_channel
from libs.testing import eventually
from tests.chaos import audit
from tests.chaos.actor import QR, Actor, GaveUp
from tests.chaos.load import Load
from tests.chaos.matrix import FIRE_TIMEOUT_S, SETTLE_TIMEOUT_S, Result
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import RESTART_MAX_S, World

STORM_S: Final = 20.0
# Far enough apart that the supervisor's patience lasts: four quick deaths in a storm at most.
KILL_EVERY_S: Final = (4.0, 7.0)
SERVICES: Final = ("gateway", "account", "risk", "router", "clearing", "sandbox")
POISON_S: Final = 5.0
# Shorter than the channel's time-out, long enough to strike meanwhile.
SLOW_MS: Final = 1800
HAND_OVER_MAX_S: Final = 1.0
TAKE_OVER_MAX_S: Final = 15.0

Strike = Callable[[World], Awaitable[None]]


async def storm(
    world: World, name: str, point: str, strike: Strike, *, seed: int, duration_s: float = STORM_S
) -> Result:
    """Load for `duration_s`, `strike` every few seconds; then quiet, and the audit of everything."""
    result = Result(name=name, point=point)
    await world.rested(name, quick_deaths_max=0)
    await world.serving()
    load, rng = Load(world=world, seed=seed), random.Random(seed)
    await load.prepare()
    working = asyncio.create_task(load.run())
    until_s = time.time() + duration_s
    kills_at_s: list[float] = []
    while (left_s := until_s - time.time()) > 0:
        await asyncio.sleep(min(left_s, rng.uniform(*KILL_EVERY_S)))
        with contextlib.suppress(LookupError):
            await strike(world)
            kills_at_s.append(time.time())
    load.stop()
    await working
    try:
        await eventually(lambda: audit.clean(world), SETTLE_TIMEOUT_S)
    except AssertionError:
        result.violations += await audit.audit(world)
    recoveries_s = load.recoveries_s(kills_at_s)
    result.fired = bool(kills_at_s and recoveries_s)
    if not result.fired:
        result.violations.append("nothing was under way when it struck")
    result.violations += load.violations
    for actor in load.actors:
        result.violations += actor.oddities
    result.outcome_s = max(recoveries_s, default=0.0)
    result.settled_s = time.time() - kills_at_s[-1] if kills_at_s else None
    result.name = f"{name}: {len(kills_at_s)} times, {load.operations_count} operations"
    return result


def killing(name: str) -> Strike:
    """SIGKILL to one program."""

    async def strike(world: World) -> None:
        world.kill(name)

    return strike


async def stop_postgres_immediately(world: World) -> None:
    """As `pg_ctl stop -m immediate`: no checkpoint, every connection cut; the next start recovers from the log."""
    world.kill("postgres", signal.SIGQUIT)


async def flush_and_kill_redis(world: World) -> None:
    """All that it remembers is lost, then it is lost itself."""
    client = redis.asyncio.from_url(world.redis_url)
    with contextlib.suppress(redis.RedisError):
        await client.flushall()
    await client.aclose()
    world.kill("redis")


async def zombie(world: World, point: str, scenario_name: str) -> Result:
    """K14: the owner is paused at `point`, another replica takes over and ends it, then the owner wakes."""
    result = Result(name=f"K14 at {point} {scenario_name}", point="K14")
    scenario = SCENARIOS[scenario_name]
    await world.rested("gateway")
    await world.serving()
    actor = await Actor.new(world)
    await actor.persist(lambda _: scenario.prepare(actor))
    async with second_gateway(world) as stub:
        actor.stubs.append(stub)
        await world.calm(3.0)
        fenced = await world.metric("saga_fenced_writes_total")
        world.arm(point, stop=True)
        working = asyncio.create_task(scenario.act(actor))
        fired = await world.wait_fired(FIRE_TIMEOUT_S)
        try:
            ended = await working
        except GaveUp as error:
            result.violations.append(f"the client gave up: {error}")
        else:
            result.outcome_s = ended.ended_at_s - fired[1] if fired else None
            if ended.state != scenario.ends:
                result.violations.append(f"{ended.subject_id} ended as {ended.state}")
        if fired is None:
            result.violations.append("the owner was never paused")
            return result
        os.kill(fired[0], signal.SIGCONT)
        try:
            await eventually(lambda: _has_fenced(world, fenced), FIRE_TIMEOUT_S)
            result.fired = True
        except AssertionError:
            result.violations.append("the zombie never tried to write")
    await _settle(world, actor, result)
    result.settled_s = time.time() - fired[1]
    return result


async def taken_over(world: World, number: signal.Signals, limit_s: float) -> Result:
    """The owner is told to stop, or killed, while its channel keeps it waiting: how soon another replica has the row."""
    result = Result(name=f"taken over after {number.name}", point=number.name)
    await world.rested("gateway")
    await world.serving()
    actor = await Actor.new(world)
    await actor.persist(lambda _: SCENARIOS["success"].prepare(actor))
    async with second_gateway(world) as stub:
        await world.calm(3.0)
        await actor.house.fault(actor.channels[0], "slow", count=1, latency_ms=SLOW_MS)
        working = asyncio.create_task(actor.pay())
        await asyncio.sleep(SLOW_MS / 4000)
        actor.stubs.append(stub)
        payment_id = await _newest_payment(world, actor)
        _, epoch = await _state(world, payment_id)
        struck_at_s = world.kill("gateway", number)

        async def is_taken() -> bool:
            return (await _state(world, payment_id))[1] > epoch

        try:
            await eventually(is_taken, FIRE_TIMEOUT_S)
            result.fired, result.outcome_s = True, time.time() - struck_at_s
            if result.outcome_s > limit_s:
                result.violations.append(f"nobody had it within {limit_s} s")
        except AssertionError:
            result.violations.append("no other replica took the row")
        try:
            ended = await working
        except GaveUp as error:
            result.violations.append(f"the client gave up: {error}")
        else:
            if ended.state != "SUCCEEDED":
                result.violations.append(f"{ended.subject_id} ended as {ended.state}")
    await _settle(world, actor, result)
    result.settled_s = time.time() - struck_at_s
    return result


async def _has_fenced(world: World, before: float) -> bool:
    return await world.metric("saga_fenced_writes_total") > before


async def poison(world: World) -> Result:
    """K18: a row that breaks whoever takes it up must not hold up the others."""
    result = Result(name="K18 a poisoned row", point="K18")
    gateway = world.pools["gateway"]
    sick, well = await _pending(world), await Actor.new(world)
    await well.persist(lambda _: SCENARIOS["never arrived"].prepare(well))
    payment_id = await _newest_payment(world, sick)
    await gateway.execute(
        "CREATE TABLE kept AS SELECT * FROM attempt WHERE subject_id = $1", payment_id
    )
    await gateway.execute("DELETE FROM attempt WHERE subject_id = $1", payment_id)
    before = await _due_now(world, payment_id)
    began_s = time.time()
    ended = await well.pay()
    result.outcome_s = time.time() - began_s
    await asyncio.sleep(POISON_S)
    state, epoch_now = await _state(world, payment_id)
    result.fired = epoch_now > before
    if not result.fired:
        result.violations.append("no sweeper took the poisoned row up")
    if ended.state != "SUCCEEDED":
        result.violations.append(f"its neighbour ended as {ended.state}")
    if state in audit.TERMINAL:
        result.violations.append(f"the poisoned row ended as {state}")
    await gateway.execute("INSERT INTO attempt SELECT * FROM kept")
    await gateway.execute("DROP TABLE kept")
    await _be_paid(world, sick)
    await _settle(world, sick, result)
    await _settle(world, well, result)
    return result


async def future_state(world: World) -> Result:
    """K19: a row in a state of the next release is left alone, and holds nobody up."""
    result = Result(name="K19 a state of the next release", point="K19")
    gateway = world.pools["gateway"]
    strange, well = await _pending(world), await Actor.new(world)
    await well.persist(lambda _: SCENARIOS["never arrived"].prepare(well))
    payment_id = await _newest_payment(world, strange)
    check = await gateway.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'payment_state_check'"
    )
    await gateway.execute("ALTER TABLE payment DROP CONSTRAINT payment_state_check")
    await gateway.execute("UPDATE payment SET state = 'LATER' WHERE payment_id = $1", payment_id)
    epoch = await _due_now(world, payment_id)
    began_s = time.time()
    try:
        ended = await well.pay()
        result.outcome_s = time.time() - began_s
        if ended.state != "SUCCEEDED":
            result.violations.append(f"its neighbour ended as {ended.state}")
    except GaveUp as error:
        result.violations.append(f"its neighbour was held up: {error}")
    state, epoch_now = await _state(world, payment_id)
    if (state, epoch_now) != ("LATER", epoch):
        result.violations.append(f"the row was touched: {state}, epoch {epoch_now - epoch:+}")
    result.fired = True
    await gateway.execute("UPDATE payment SET state = 'PENDING' WHERE payment_id = $1", payment_id)
    await gateway.execute(f"ALTER TABLE payment ADD CONSTRAINT payment_state_check {check}")
    await _be_paid(world, strange)
    await _settle(world, strange, result)
    await _settle(world, well, result)
    return result


async def _settle(world: World, actor: Actor, result: Result) -> None:
    merchant_id = actor.house.merchant_id
    try:
        await eventually(lambda: audit.clean(world, merchant_id), SETTLE_TIMEOUT_S)
    except AssertionError:
        result.violations += await audit.audit(world, merchant_id)
    result.violations += actor.oddities


async def _pending(world: World) -> Actor:
    """An actor with one payment that waits for its payer."""
    actor = await Actor.new(world)
    await actor.open_channels({"auto_pay_after_ms": None})
    await actor.house.pay(*actor.channels, method=QR)
    return actor


async def _newest_payment(world: World, actor: Actor) -> str:
    query = "SELECT payment_id FROM payment WHERE merchant_id = $1 ORDER BY payment_id DESC LIMIT 1"
    return str(await world.pools["gateway"].fetchval(query, actor.house.merchant_id))


async def _due_now(world: World, payment_id: str) -> int:
    """Makes a row due; returns its epoch."""
    query = "UPDATE payment SET next_run_at = now() WHERE payment_id = $1 RETURNING epoch"
    return int(await world.pools["gateway"].fetchval(query, payment_id))


async def _state(world: World, payment_id: str) -> tuple[str, int]:
    """(state, epoch) of a payment's row."""
    query = "SELECT state, epoch FROM payment WHERE payment_id = $1"
    row = await world.pools["gateway"].fetchrow(query, payment_id)
    assert row is not None
    return row["state"], row["epoch"]


async def _be_paid(world: World, actor: Actor) -> None:
    for row in await actor.house.book(actor.channels[0]):
        body = {"account_id": actor.channels[0], "out_ref": row["out_ref"]}
        (await world.house.sandbox.post("/control/pay", json=body)).raise_for_status()


@contextlib.asynccontextmanager
async def second_gateway(
    world: World,
) -> AsyncIterator["payment_pb2_grpc.PaymentServiceAsyncStub"]:
    """Another replica of the gateway on the same database, in which no crash point is armed."""
    first = world.settings
    second = LocalSettings(base_port=ports.find_free_base(), data_dir=first.data_dir)
    seal_key = secrets_file.read_or_create(first.data_dir / "gateway.seal-key", str)
    described = environment.describe_environment(
        second,
        "gateway",
        database_url=world.database_url("gateway"),
        redis_url=world.redis_url,
        seal_keys={"gateway": seal_key},
        operator_token=operator_token(first.data_dir),
        inherited=os.environ,
    )
    targets = {
        f"FISC_{service.upper()}_TARGET": world.target(service) for service in environment.SERVICES
    }
    disarmed = {crashpoints.ENABLED_VARIABLE: "0"}
    with (first.data_dir / "logs" / "gateway-2.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.gateway"),
            env={**described, **targets, **disarmed},
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        async with open_channel(f"127.0.0.1:{second.port('gateway')}", peer="chaos") as channel:
            await asyncio.wait_for(channel.channel_ready(), RESTART_MAX_S)
            yield payment_pb2_grpc.PaymentServiceStub(channel)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), FIRE_TIMEOUT_S)
