"""A ledger to measure: Postgres as the suite runs it, the account service as a process, accounts to move money between."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg

from deploy.local import ports, postgres
from deploy.local.postgres import Postgres
from fisc.account.v1 import account_pb2 as pb
from fisc.account.v1 import account_pb2_grpc
from fisc.common.v1 import money_pb2
from libs.clock import SystemClock
from libs.db import migrate
from libs.db.pool import open_pool
from libs.ids import SortableIds
from libs.rpc import client
from services.account.__main__ import MIGRATIONS
from services.account.domain.accounts import Account, Role
from services.account.store import Store
from services.account.usecases.chart import Chart
from tests.bench import readings

ACCOUNTS = 1_000
HOT_SHARE = 0.5
CALL_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 60.0
COPY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30
ACCOUNTS_A_CALL = 250
# In half of all transfers where one account is hot, and in every transfer that is loaded in bulk.
HOT = "channel/wechat/receivable/CNY"
MERCHANTS = [f"merchant/m{number:05d}/pending/CNY" for number in range(ACCOUNTS)]

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Sides = tuple[str, str]
Pick = Callable[[random.Random], Sides]


def uniform(rng: random.Random) -> Sides:
    """Two different accounts, any of a thousand."""
    debit, credit = rng.sample(MERCHANTS, 2)
    return debit, credit


def hot(rng: random.Random) -> Sides:
    """Every other transfer has one particular account, on either side."""
    debit, credit = uniform(rng)
    if rng.random() >= HOT_SHARE:
        return debit, credit
    return (HOT, credit) if rng.random() < HOT_SHARE else (debit, HOT)


class Transfers:
    """Makes transfers that no ledger has seen, as the gateway books payments."""

    def __init__(self) -> None:
        self._rng = random.Random()
        self._ids = SortableIds(SystemClock(), self._rng)

    def new(self, pick: Pick) -> pb.Transfer:
        """One more."""
        debit, credit = pick(self._rng)
        payment_id = self._ids.new("pay")
        return pb.Transfer(
            transfer_id=f"{payment_id}:collect",
            debit_account_id=debit,
            credit_account_id=credit,
            amount=money_pb2.Money(currency="CNY", amount_minor=self._rng.randint(1, 99_999)),
            reference=payment_id,
            description="collected",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What has been used so far."""

    client_s: float
    service_s: float
    postgres_s: float
    wal_bytes: int
    batches: int

    def __sub__(self, earlier: "Spent") -> "Spent":
        return Spent(
            client_s=self.client_s - earlier.client_s,
            service_s=self.service_s - earlier.service_s,
            postgres_s=self.postgres_s - earlier.postgres_s,
            wal_bytes=self.wal_bytes - earlier.wal_bytes,
            batches=self.batches - earlier.batches,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A running service and its database."""

    stub: "account_pb2_grpc.AccountServiceAsyncStub"
    pool: Pool
    target: str
    service_pid: int
    postgres_pid: int

    async def post(self, transfers: Sequence[pb.Transfer]) -> list[bool]:
        """Make one call; say of each whether it was booked."""
        response = await client.call(
            self.stub.PostTransfers,
            pb.PostTransfersRequest(request_id=transfers[0].transfer_id, transfers=transfers),
            timeout_s=CALL_TIMEOUT_S,
        )
        return [result.booked for result in response.results]

    async def spent(self) -> Spent:
        """CPU seconds by process, log written, batches sealed; the latter is posting commits."""
        row = await self.pool.fetchrow(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal_bytes, "
            "sum(number)::bigint AS batches FROM chain_head"
        )
        assert row is not None
        times = os.times()
        return Spent(
            client_s=times.user + times.system,
            service_s=readings.cpu_s(self.service_pid),
            postgres_s=readings.cpu_s(self.postgres_pid),
            wal_bytes=row["wal_bytes"],
            batches=row["batches"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Postgres server."""

    admin_url: str
    pid: int


@contextlib.contextmanager
def open_cluster() -> Iterator[Cluster]:
    """A fresh Postgres with the suite's settings, in a directory that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="fisc-bench-") as folder:
        # In a process of its own: the clients' event loop cannot start one as another user.
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.ledger_house", folder],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            admin_url, pid = process.stdout.readline().split()
            yield Cluster(admin_url=admin_url, pid=int(pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_TIMEOUT_S)


async def make_database(cluster: Cluster, name: str) -> str:
    """A migrated database with all accounts open and nothing booked; returns its address."""
    url = await postgres.create_database(cluster.admin_url, name)
    await migrate.upgrade(url, MIGRATIONS)
    async with await open_pool(url, size=1, application_name="bench") as pool:
        await open_accounts(pool)
        await pool.execute("ANALYZE account, account_balance")
    return url


async def open_accounts(pool: Pool) -> None:
    """All accounts of the loads, in a migrated database."""
    chart = Chart(Store(pool), SystemClock())
    opening = [_account(HOT, Role.CHANNEL_RECEIVABLE)]
    opening += [_account(name, Role.MERCHANT_PENDING) for name in MERCHANTS]
    for first in range(0, len(opening), ACCOUNTS_A_CALL):
        await chart.open_accounts(opening[first : first + ACCOUNTS_A_CALL])


async def copy_database(cluster: Cluster, source: str, name: str) -> str:
    """A database with the same content, to which nobody may be connected; returns its address."""
    connection = await asyncpg.connect(cluster.admin_url)
    try:
        await connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy", timeout=COPY_TIMEOUT_S
        )
    finally:
        await connection.close()
    return postgres.database_url(cluster.admin_url, name)


@contextlib.asynccontextmanager
async def copied(cluster: Cluster, source: str) -> AsyncIterator[str]:
    """A copy that goes afterwards."""
    name = f"copy_of_{source}"
    try:
        yield await copy_database(cluster, source, name)
    finally:
        connection = await asyncpg.connect(cluster.admin_url)
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def serving(
    cluster: Cluster, url: str, *, module: str = "services.account"
) -> AsyncIterator[Ledger]:
    """The account service over a database, as a process of its own."""
    with _service(url, module) as (target, pid):
        async with (
            await open_pool(url, size=2, application_name="bench") as pool,
            client.open_channel(target, peer="account") as channel,
        ):
            stub = account_pb2_grpc.AccountServiceStub(channel)
            await stub.GetBalances(
                pb.GetBalancesRequest(account_ids=[HOT]),
                timeout=CONNECT_TIMEOUT_S,
                wait_for_ready=True,
            )
            yield Ledger(
                stub=stub, pool=pool, target=target, service_pid=pid, postgres_pid=cluster.pid
            )


@contextlib.contextmanager
def _service(url: str, module: str) -> Iterator[tuple[str, int]]:
    grpc_port, metrics_port = ports.find_free(), ports.find_free()
    environment = {
        **os.environ,
        "FISC_ACCOUNT_DATABASE_URL": url,
        "FISC_ACCOUNT_GRPC_PORT": str(grpc_port),
        "FISC_ACCOUNT_METRICS_PORT": str(metrics_port),
        "FISC_ACCOUNT_LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen([sys.executable, "-m", module], env=environment)
    try:
        yield f"127.0.0.1:{grpc_port}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)


def _account(name: str, role: Role) -> Account:
    return Account(
        account_id=name,
        owner_id=name.split("/")[1],
        role=role,
        currency="CNY",
        display_name="",
        parent_id="",
        opened_at=SystemClock().now(),
    )


async def _keep_cluster(data_dir: Path) -> None:
    """Run Postgres until told to stop; prints its address and process id."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    cluster = Postgres(data_dir, port=ports.find_free())
    await cluster.start()
    try:
        lines = (cluster.cluster_dir / "postmaster.pid").read_text().split()
        print(cluster.admin_url, lines[0], flush=True)
        await stopping.wait()
    finally:
        await cluster.stop()


if __name__ == "__main__":
    asyncio.run(_keep_cluster(Path(sys.argv[1])))
