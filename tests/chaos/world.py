"""A running suite whose processes may be killed: who runs where, what is armed, and how to reach each store."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final, Self

import asyncpg
import grpc
import httpx

from deploy.local import environment
from deploy.local.environment import LocalSettings
from deploy.local.postgres import USER
from deploy.local.suite import operator_token
from fisc.account.v1 import account_pb2_grpc
from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import bulk_pb2_grpc, operations_pb2_grpc, payment_pb2_grpc
from fisc.risk.v1 import risk_pb2_grpc
from fisc.router.v1 import router_pb2_grpc
from libs import crashpoints
from libs.rpc.client import open_channel
from libs.saga import flow
from libs.testing import eventually
from tests.integration.gateway.house import House
from tests.suite_runner import running_suite

GROUPS: Final = ("sandbox,router,risk,account", "gateway", "clearing")
CHANNEL_TIMEOUT_S: Final = 2.0
# The supervisor gives a program up that dies five times in a row within ten seconds of its start.
LIFE_MIN_S: Final = 10.5
# Between two deaths lies the supervisor's pause, too, which grows with each quick one.
PAUSE_MAX_S: Final = 3.5
LEASE_S: Final = flow.LEASE_S
AT_WORK_S: Final = CHANNEL_TIMEOUT_S + 1.0
QUICK_DEATHS_MAX: Final = 2
RESTART_MAX_S: Final = 30.0
BANK_BALANCE_MINOR: Final = 1_000_000
DATABASES: Final = ("gateway", "account", "clearing")

# Due soon, or taken up a moment ago: a lease that is nearly whole has an owner at work.
_UNFINISHED: Final = """
SELECT count(*) FROM (
    SELECT next_run_at FROM payment UNION ALL SELECT next_run_at FROM capture
    UNION ALL SELECT next_run_at FROM refund UNION ALL SELECT next_run_at FROM payout
    UNION ALL SELECT next_run_at FROM payout_file) AS subject
WHERE next_run_at < now() + make_interval(secs => $1)
    OR next_run_at BETWEEN now() + make_interval(secs => $2) AND now() + make_interval(secs => $3)
"""
_CURSOR_LAG: Final = """
SELECT count(*) FROM event_cursor, event_log
WHERE consumer LIKE 'push-%' AND (event_log.txid, event_log.seq) >
    (coalesce(nullif(split_part(cursor, '-', 1), ''), '0')::xid8,
     coalesce(nullif(split_part(cursor, '-', 2), ''), '0')::bigint)
"""


@dataclasses.dataclass(kw_only=True)
class World:
    """One suite under attack. `house` is its operator's view; tests take `dataclasses.replace(house)` of it."""

    settings: LocalSettings
    house: House
    runner_pid: int
    crash_file: Path
    bank: str = ""
    pools: dict[str, "asyncpg.Pool[asyncpg.Record]"] = dataclasses.field(default_factory=dict)
    _deaths_at_s: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    async def start(self) -> Self:
        """Opens the doors to the stores, and the one channel that pays out."""
        for service in DATABASES:
            self.pools[service] = await asyncpg.create_pool(
                self.database_url(service), min_size=0, max_size=4
            )
        self.bank = await self.house.new_channel(
            method_pb2.PAYMENT_METHOD_BANK_TRANSFER,
            operations=(method_pb2.OPERATION_PAYOUT,),
            opening_balance=BANK_BALANCE_MINOR,
        )
        return self

    async def stop(self) -> None:
        for pool in self.pools.values():
            pool.terminate()

    def database_url(self, service: str) -> str:
        password = (self.settings.data_dir / "postgres.password").read_text().strip()
        return (
            f"postgresql://{USER}:{password}@127.0.0.1:{self.settings.postgres_port}/fisc_{service}"
        )

    @property
    def redis_url(self) -> str:
        password = (self.settings.data_dir / "redis.password").read_text().strip()
        return f"redis://:{password}@127.0.0.1:{self.settings.redis_port}/0"

    def arm(self, point: str, hits: int = 1, *, stop: bool = False) -> None:
        """The next process that reaches this point for the `hits`th time dies there, or is paused."""
        crashpoints.fired_path(self.crash_file).unlink(missing_ok=True)
        draft = self.crash_file.with_suffix(".draft")
        draft.write_text(f"{point}:{hits}" + (f":{crashpoints.STOP}" if stop else ""))
        draft.replace(self.crash_file)

    def disarm(self) -> None:
        self.crash_file.unlink(missing_ok=True)

    def fired(self) -> tuple[int, float] | None:
        """(pid, Unix time) of the process that died at what was armed."""
        try:
            words = crashpoints.fired_path(self.crash_file).read_text().split()
        except FileNotFoundError:
            return None
        return (int(words[1]), int(words[2]) / 1e9) if len(words) == 3 else None

    async def wait_fired(self, timeout_s: float) -> tuple[int, float] | None:
        """What `fired` answers within this time; then nothing is armed any more."""
        with contextlib.suppress(AssertionError):
            await eventually(lambda: self.fired() is not None, timeout_s)
        self.disarm()
        return self.fired()

    def pid(self, name: str) -> int:
        """The present process of a program. Raises LookupError while there is none."""
        if name == "postgres":
            path = self.settings.data_dir / "postgres" / "postmaster.pid"
            with contextlib.suppress(FileNotFoundError, IndexError):
                return int(path.read_text().split()[0])
            raise LookupError(name)
        mark = b"valkey" if name == "redis" else f"services.{name}".encode()
        for pid in _children(self.runner_pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if mark in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        raise LookupError(name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> float:
        """Ends a program; the supervisor starts it again. Returns the Unix time."""
        os.kill(self.pid(name), number)
        return self.died(name, time.time())

    def died(self, name: str, at_s: float) -> float:
        """Remembers a death, and returns when it was."""
        self._deaths_at_s.setdefault(name, []).append(at_s)
        return at_s

    async def rested(self, name: str, quick_deaths_max: int = QUICK_DEATHS_MAX) -> None:
        """Waits until one more death of this program does not make the supervisor give it up."""
        deaths = [0.0, *self._deaths_at_s.get(name, ())]
        quick = 0
        gap_s = LIFE_MIN_S + PAUSE_MAX_S
        while quick + 1 < len(deaths) and deaths[-1 - quick] - deaths[-2 - quick] < gap_s:
            quick += 1
        if quick >= quick_deaths_max:
            await eventually(lambda: self.age_s(name) > LIFE_MIN_S, timeout_s=2 * gap_s)

    def age_s(self, name: str) -> float:
        """How long a program's present process has lived; 0 while there is none."""
        with contextlib.suppress(LookupError, FileNotFoundError):
            fields = Path(f"/proc/{self.pid(name)}/stat").read_text().rpartition(")")[2].split()
            uptime_s = float(Path("/proc/uptime").read_text().split()[0])
            return uptime_s - int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return 0.0

    async def calm(self, seconds: float) -> None:
        """Waits until nothing happens by itself, nor will soon: no row due or at work, no event unpushed."""

        async def is_calm() -> bool:
            gateway = self.pools["gateway"]
            try:
                unpushed = await gateway.fetchval(_CURSOR_LAG)
                return not unpushed and not await gateway.fetchval(
                    _UNFINISHED, seconds, LEASE_S - AT_WORK_S, LEASE_S
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return False

        await eventually(is_calm, timeout_s=90)

    async def serving(self) -> None:
        """Waits until every service answers its operator."""

        async def is_serving() -> bool:
            try:
                answer = await self.house.sandbox.get("/control/health")
                for service in ("gateway", "account", "risk", "router", "clearing"):
                    async with grpc.aio.insecure_channel(self.target(service)) as channel:
                        await asyncio.wait_for(channel.channel_ready(), 1.0)
            except (httpx.HTTPError, TimeoutError):
                return False
            return answer.is_success

        await eventually(is_serving, timeout_s=RESTART_MAX_S)

    def target(self, service: str) -> str:
        return f"127.0.0.1:{self.settings.port(service)}"

    async def metric(self, name: str, service: str = "gateway") -> float:
        """The sum of a metric's samples of a process."""
        async with httpx.AsyncClient(trust_env=False) as client:
            port = self.settings.metrics_port(service)
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        lines = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield from map(int, (task / "children").read_text().split())


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


@contextlib.asynccontextmanager
async def house_of(settings: LocalSettings) -> AsyncIterator[House]:
    """The services as their callers see them; channels reconnect soon after a restart."""
    async with contextlib.AsyncExitStack() as stack:
        channels = {
            service: await stack.enter_async_context(
                open_channel(f"127.0.0.1:{settings.port(service)}", peer="chaos")
            )
            for service in environment.SERVICES
        }
        sandbox = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{settings.port('sandbox')}", trust_env=False
            )
        )
        yield House(
            payments=payment_pb2_grpc.PaymentServiceStub(channels["gateway"]),
            files=bulk_pb2_grpc.PayoutFileServiceStub(channels["gateway"]),
            operations=operations_pb2_grpc.OperationsServiceStub(channels["gateway"]),
            account=account_pb2_grpc.AccountServiceStub(channels["account"]),
            router=router_pb2_grpc.RouterServiceStub(channels["router"]),
            risk=risk_pb2_grpc.RiskServiceStub(channels["risk"]),
            sandbox=sandbox,
            settings=settings,
            operator=(("authorization", f"Bearer {operator_token(settings.data_dir)}"),),
        )


@contextlib.asynccontextmanager
async def running_world() -> AsyncIterator[World]:
    """Starts a suite in a throw-away directory, armed with nothing, and stops it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        crash_file = Path(folder) / "crash-point"
        environ = {
            crashpoints.ENABLED_VARIABLE: "1",
            crashpoints.FILE_VARIABLE: str(crash_file),
            "FISC_GATEWAY_CHANNEL_TIMEOUT_S": str(CHANNEL_TIMEOUT_S),
            "FISC_SANDBOX_CALLBACK_BACKOFF_S": "[0.25,1,1,1,2,2,3,3,5,5,10,10,30]",
        }
        pids: dict[str, int] = {}
        with running_suite(Path(folder) / "data", GROUPS, pids=pids, environ=environ) as settings:
            async with house_of(settings) as house:
                world = await World(
                    settings=settings,
                    house=house,
                    runner_pid=_parent(pids["gateway"]),
                    crash_file=crash_file,
                ).start()
                try:
                    yield world
                finally:
                    await world.stop()
