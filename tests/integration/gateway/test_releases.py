"""Two releases side by side: what a later one has told, and what an earlier one has not opened."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc

from deploy.local import environment, ports, probes
from deploy.local.suite import operator_token
from fisc.common.v1 import method_pb2
from libs.testing import eventually
from tests.integration.gateway.house import House, reason_of

CARD = method_pb2.PAYMENT_METHOD_CARD
HOST = "127.0.0.1"
PATIENCE_S = 20.0


async def tell_of_a_later_release(database: Any) -> int:
    """An event that this release does not know; its place in the log."""
    number: int = await database.fetchval(
        "INSERT INTO event_log (event_id, type, merchant_id, subject_id, occurred_at, payload_type, payload)"
        " VALUES ($1, 'payment.foreseen', 'mer_1', 'pay_1', now(), 'of.a.later.Release', '') RETURNING seq",
        secrets.token_hex(8),
    )
    return number


async def pushed(house: House) -> tuple[int, int]:
    """What the ledger has booked of the current merchant's payments, in how many entries."""
    pending = await house.balance(f"merchant/{house.merchant_id}/pending/CNY")
    return pending.posted_minor, pending.sequence


async def test_nothing_is_pushed_past_an_event_of_a_later_release_and_nothing_behind_it_is_lost(
    house: House, gateway_database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    channel = await house.new_channel(CARD)
    await house.pay(channel, amount_minor=1_000)

    async def first_is_booked() -> bool:
        return await pushed(house) == (1_000, 1)

    await eventually(first_is_booked)
    number = await tell_of_a_later_release(gateway_database)
    await house.pay(channel, amount_minor=200)
    await asyncio.sleep(1.5)
    waiting = await pushed(house)

    # The later release's replica has pushed it.
    await gateway_database.execute(
        "UPDATE event_cursor SET cursor = (SELECT txid || '-' || seq FROM event_log WHERE seq = $1)",
        number,
    )

    async def all_is_booked() -> bool:
        return await pushed(house) == (1_200, 2)

    await eventually(all_is_booked)
    assert waiting == (1_000, 1)


@contextlib.asynccontextmanager
async def another_gateway(house: House) -> AsyncIterator[None]:
    """A second replica over the same database, once it serves."""
    settings = house.settings
    described = environment.describe_environment(
        settings,
        "gateway",
        database_url=house.gateway_database_url,
        redis_url=f"redis://{HOST}:{settings.redis_port}",
        seal_keys={"gateway": (settings.data_dir / "gateway.seal-key").read_text().strip()},
        operator_token=operator_token(settings.data_dir),
        inherited=os.environ,
    )
    port = ports.find_free()
    own_ports = {
        "FISC_GATEWAY_GRPC_PORT": str(port),
        "FISC_GATEWAY_METRICS_PORT": str(ports.find_free()),
        "FISC_GATEWAY_CALLBACK_PORT": str(ports.find_free()),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.gateway"),
        env=described | own_ports,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: probes.grpc_serving(HOST, port), PATIENCE_S)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


async def test_a_gateway_opens_the_ledger_accounts_that_an_earlier_release_had_not(
    house: House, gateway_database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    known, channel = await house.new_channel(CARD), f"c{secrets.token_hex(6)}"
    await gateway_database.execute(
        "INSERT INTO channel_account SELECT (jsonb_populate_record(known,"
        " jsonb_build_object('channel_id', $2::text, 'currencies', ARRAY['JPY']))).*"
        " FROM channel_account AS known WHERE channel_id = $1",
        known,
        channel,
    )
    wanted = (f"channel/{channel}/receivable/JPY", "platform/late-success/JPY")

    async def are_open() -> bool:
        try:
            for account_id in wanted:
                await house.balance(account_id)
        except grpc.aio.AioRpcError as error:
            assert reason_of(error) == "ACCOUNT_NOT_FOUND"
            return False
        return True

    assert not await are_open()
    async with another_gateway(house):
        await eventually(are_open, PATIENCE_S)
    # One more that starts finds them open already.
    async with another_gateway(house):
        assert await are_open()
