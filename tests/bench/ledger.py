"""The ledger against the database it stands on: `python -m tests.bench.ledger`, a part of `make bench`.

Figures that are compared are measured in turns, so that an hour in which the machine is busy decides
nothing; the median of each stands. Clients, service and database share the machine's cores.
"""

import asyncio
import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import uvloop

from libs import memory
from libs.batching.coalescer import Coalescer
from libs.clock import SystemClock
from libs.db.pool import BY_KEYS, open_pool
from services.account.domain import batch, ledger
from services.account.domain.accounts import Balance, Role
from services.account.handlers.convert import transfer_from_proto
from services.account.store import Store
from services.account.usecases.chart import Chart
from services.account.usecases.posting import Posting
from tests.bench import figures, ledger_house, pgbench
from tests.bench.figures import Row, row
from tests.bench.ledger_house import (
    HOT,
    MERCHANTS,
    Cluster,
    Ledger,
    Pick,
    Spent,
    Transfers,
    hot,
    uniform,
)
from tests.bench.ledger_rows import Filler
from tests.bench.load import Result, closed_loop

ROUNDS = 3
RUN_S = 3.0
WARM_UP_S = 2.0
IN_FLIGHT = 512
BATCH_ITEMS = 256
# As many calls are out as the service has writers, so that one is prepared while one is written.
PUSHERS = 2
FUNCTION_BATCHES = 40
READS = 1_000
LOW = (1, 32)
# Entries on file; a transfer leaves two, and one of them on the one account that all have in common.
STEPS = (10_000, 100_000, 2_000_000, 10_000_000)
PAST_ENTRIES = 2_000_000
ENTRIES_MAX = int(os.environ.get("FISC_BENCH_LEDGER_ENTRIES", STEPS[-1]))


@dataclass(slots=True)
class Runs:
    """What several runs of one load have seen."""

    rates: list[float] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)

    def add(self, result: Result, spent: Spent, items: int) -> None:
        """One more run, each call of which carried so many transfers."""
        assert not result.errors, result
        self.rates.append(result.rate * items)
        self.results.append(result)
        self.spent.append(spent)

    @property
    def rate(self) -> float:
        """Transfers a second."""
        return statistics.median(self.rates)

    @property
    def count(self) -> float:
        """Transfers of all runs."""
        return sum(
            rate * result.elapsed_s for rate, result in zip(self.rates, self.results, strict=True)
        )

    def p_ms(self, name: str) -> float:
        """A percentile, the median of the runs'."""
        values: list[float] = [getattr(result, f"{name}_ms") for result in self.results]
        return statistics.median(values)

    def per_transfer(self, name: str) -> float:
        """What a transfer has used, over all runs."""
        values: list[float] = [getattr(spent, name) for spent in self.spent]
        return sum(values) / self.count


Call = Callable[[], Awaitable[bool]]


def single(house: Ledger, pick: Pick) -> Call:
    """A caller with one transfer a call."""
    transfers = Transfers()

    async def call() -> bool:
        return all(await house.post([transfers.new(pick)]))

    return call


def batched(house: Ledger, pick: Pick) -> Call:
    """A caller with many transfers a call, as the gateway pushes what was paid."""
    transfers = Transfers()

    async def call() -> bool:
        return all(await house.post([transfers.new(pick) for _ in range(BATCH_ITEMS)]))

    return call


@contextlib.asynccontextmanager
async def coalesced(house: Ledger, pick: Pick) -> AsyncIterator[Call]:
    """Callers of one process with one transfer each, whose calls travel together."""
    transfers = Transfers()
    async with Coalescer(
        house.post, name="bench", items_max=BATCH_ITEMS, workers=PUSHERS
    ) as coalescer:

        async def call() -> bool:
            return await coalescer.submit(transfers.new(pick))

        yield call


async def run(runs: Runs, house: Ledger, call: Call, *, in_flight: int, items: int = 1) -> None:
    """One measured run."""
    before = await house.spent()
    result = await closed_loop(call, in_flight=in_flight, duration_s=RUN_S)
    runs.add(result, await house.spent() - before, items)


async def measure_rates(house: Ledger, database: pgbench.Pgbench) -> list[Row]:
    """All loads in turns, and pgbench among them."""
    tps: list[float] = []
    names = ("512", "hot_512", "unary_512", "batches", "hot_batches")
    runs = {name: Runs() for name in names}
    async with coalesced(house, uniform) as one, coalesced(house, hot) as other:
        loads: dict[str, tuple[Call, int, int]] = {
            "512": (one, IN_FLIGHT, 1),
            "hot_512": (other, IN_FLIGHT, 1),
            "unary_512": (single(house, uniform), IN_FLIGHT, 1),
            "batches": (batched(house, uniform), PUSHERS, BATCH_ITEMS),
            "hot_batches": (batched(house, hot), PUSHERS, BATCH_ITEMS),
        }
        await closed_loop(one, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
        for _ in range(ROUNDS):
            tps.append(await database.measure_tps(round(RUN_S)))
            for name, (call, in_flight, items) in loads.items():
                await run(runs[name], house, call, in_flight=in_flight, items=items)
    baseline = statistics.median(tps)
    together = f"{IN_FLIGHT} callers of one transfer, whose client sends up to {BATCH_ITEMS} a call"
    pushing = f"{PUSHERS} callers of {BATCH_ITEMS} transfers a call"
    even, skewed = f"over {len(MERCHANTS)} accounts", "half of them on one account"
    rows = [row("pgbench_tps", baseline, "transactions/s", database.method)]
    rows += _rates("ledger_grpc_512", runs["512"], f"{together}, {even}", baseline)
    rows += [
        row("ledger_grpc_512_p50", runs["512"].p_ms("p50"), "ms", "as ledger_grpc_512"),
        row("ledger_grpc_512_p99", runs["512"].p_ms("p99"), "ms", "as ledger_grpc_512"),
        row(
            "ledger_grpc_hot_512",
            runs["hot_512"].rate,
            "transfers/s",
            f"{together}, {skewed}; against ledger_grpc_512",
            runs["512"].rate,
        ),
    ]
    rows += _rates("ledger_grpc_batches", runs["batches"], f"{pushing}, {even}", baseline)
    rows.append(
        row(
            "ledger_grpc_hot_batches",
            runs["hot_batches"].rate,
            "transfers/s",
            f"{pushing}, {skewed}; against ledger_grpc_batches",
            runs["batches"].rate,
        )
    )
    method = f"{IN_FLIGHT} callers, one transfer a call, {even}"
    rows += _rates("ledger_grpc_unary_512", runs["unary_512"], method, baseline)
    return rows


def _rates(name: str, runs: Runs, method: str, baseline: float) -> list[Row]:
    """A load's transfers/s against pgbench, and what a transfer has used."""
    used = [
        ("client_cpu", runs.per_transfer("client_s") * 1e6, "CPU µs/transfer"),
        ("service_cpu", runs.per_transfer("service_s") * 1e6, "CPU µs/transfer"),
        ("postgres_cpu", runs.per_transfer("postgres_s") * 1e6, "CPU µs/transfer"),
        ("wal", runs.per_transfer("wal_bytes"), "bytes/transfer"),
        ("batch", 1 / runs.per_transfer("batches"), "transfers/commit"),
    ]
    return [
        row(name, runs.rate, "transfers/s", f"{method}; against pgbench_tps", baseline),
        *(row(f"{name}_{part}", value, unit, f"as {name}") for part, value, unit in used),
    ]


async def measure_low_load(house: Ledger) -> list[Row]:
    """What one caller waits, and each of few."""
    rows = []
    for in_flight in LOW:
        runs = Runs()
        call = single(house, uniform)
        await closed_loop(call, in_flight=in_flight, duration_s=0.5)
        for _ in range(ROUNDS):
            await run(runs, house, call, in_flight=in_flight)
        name, method = f"ledger_grpc_{in_flight}", f"{in_flight} in flight, one transfer a call"
        rows += [
            row(name, runs.rate, "transfers/s", method),
            row(f"{name}_p50", runs.p_ms("p50"), "ms", method),
            row(f"{name}_p99", runs.p_ms("p99"), "ms", method),
        ]
    return rows


def measure_function() -> list[Row]:
    """The pure function over balances in memory."""
    names = (HOT, *MERCHANTS)
    balances = {
        name: Balance(account_id=name, role=Role.MERCHANT_PENDING, currency="CNY") for name in names
    }
    rows = []
    for name, pick in (("ledger_function", uniform), ("ledger_function_hot", hot)):
        transfers, spent_s = Transfers(), []
        for _ in range(FUNCTION_BATCHES):
            commands = [transfer_from_proto(transfers.new(pick)) for _ in range(BATCH_ITEMS)]
            began = time.process_time()
            needs = batch.needs(commands)
            book = batch.Book(
                balances={each: balances[each] for each in needs.account_ids},
                transfers={},
                holds={},
            )
            now = datetime.now(UTC)
            decision = ledger.decide(book, commands, now=now, booking_day=now.date())
            spent_s.append(time.process_time() - began)
            assert len(decision.booked) == BATCH_ITEMS
        rate = BATCH_ITEMS / statistics.median(spent_s)
        rows.append(row(name, rate, "transfers/s", f"decide, {BATCH_ITEMS} a batch, one core"))
    return rows


async def measure_posting(url: str) -> list[Row]:
    """The use case in this process: no gRPC, the same database."""
    rates: dict[str, list[float]] = {"ledger_posting_512": [], "ledger_posting_hot_512": []}
    async with (
        await open_pool(url, size=4, application_name="bench", settings=BY_KEYS) as pool,
        Posting(Store(pool), SystemClock(), booking_zone=ZoneInfo("Asia/Shanghai")) as posting,
    ):
        transfers = Transfers()

        def caller(pick: Pick) -> Call:
            async def call() -> bool:
                verdicts = await posting.post_transfers([transfer_from_proto(transfers.new(pick))])
                return verdicts[0].booked

            return call

        await closed_loop(caller(uniform), in_flight=IN_FLIGHT, duration_s=1.0)
        for _ in range(ROUNDS):
            for name, pick in zip(rates, (uniform, hot), strict=True):
                result = await closed_loop(caller(pick), in_flight=IN_FLIGHT, duration_s=RUN_S)
                assert not result.errors
                rates[name].append(result.rate)
    method = f"Posting in the caller's process, {IN_FLIGHT} callers of one transfer"
    return [
        row(name, statistics.median(each), "transfers/s", method) for name, each in rates.items()
    ]


async def measure_past(pool: Any, filler: Filler) -> list[Row]:
    """How an account with 10⁶ entries stood at some moment."""
    chart, rng, waited_ms = Chart(Store(pool), SystemClock()), random.Random(1), []
    for _ in range(READS):
        number = rng.randint(1, filler.count - 1)
        began = time.perf_counter()
        at = filler.booked_at(number) + timedelta(milliseconds=1)
        found = await chart.get_balances_at_time([HOT], at)
        waited_ms.append((time.perf_counter() - began) * 1000)
        assert found[0].sequence == number
    cuts = statistics.quantiles(waited_ms[READS // 10 :], n=100)
    method = f"GetBalances at a time, account of {filler.count} entries, through the use case"
    return [
        row("ledger_past_balance_p50", cuts[49], "ms", method),
        row("ledger_past_balance_p99", cuts[98], "ms", method),
    ]


async def measure_verify(pool: Any) -> list[Row]:
    """The whole proof: every hash, every entry of every account."""
    began, done = time.perf_counter(), 0
    async for progress in Chart(Store(pool), SystemClock()).verify(batches_only=False):
        assert not progress.broken, progress.broken
        done = progress.transfers_count
    elapsed_s = time.perf_counter() - began
    return [
        row("ledger_verify", done / elapsed_s, "transfers/s", f"the proof over {done} transfers")
    ]


async def measure_scaling(cluster: Cluster) -> AsyncIterator[list[Row]]:
    """Transfers/s with more and more entries on file, each step in turns with a ledger of the fewest; and reading."""
    url = await ledger_house.make_database(cluster, "filled")
    filler = Filler(HOT, MERCHANTS)
    for entries in (each for each in STEPS if each <= ENTRIES_MAX):
        async with await open_pool(url, size=2, application_name="bench", settings=BY_KEYS) as pool:
            await filler.fill(pool, entries // 2)
            if entries == PAST_ENTRIES:
                yield await measure_past(pool, filler)
                yield await measure_verify(pool)
        if entries == STEPS[0]:
            await ledger_house.copy_database(cluster, "filled", "fewest")
        else:
            yield await _measure_step(cluster, entries)


async def _measure_step(cluster: Cluster, entries: int) -> list[Row]:
    """Against a ledger of the fewest entries; both are copies, so that what is on file stays what it is."""
    grown, fewest = Runs(), Runs()
    async with (
        ledger_house.copied(cluster, "filled") as grown_url,
        ledger_house.copied(cluster, "fewest") as fewest_url,
        ledger_house.serving(cluster, grown_url) as grown_house,
        ledger_house.serving(cluster, fewest_url) as fewest_house,
        coalesced(grown_house, uniform) as grown_call,
        coalesced(fewest_house, uniform) as fewest_call,
    ):
        for call in (grown_call, fewest_call):
            await closed_loop(call, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
        for _ in range(ROUNDS):
            await run(fewest, fewest_house, fewest_call, in_flight=IN_FLIGHT)
            await run(grown, grown_house, grown_call, in_flight=IN_FLIGHT)
    method = f"as ledger_grpc_512, with {entries} entries on file; against {STEPS[0]} entries"
    name = f"ledger_scaling_{entries}"
    costs = (
        ("postgres_cpu", "postgres_s", 1e6, "CPU µs/transfer"),
        ("wal", "wal_bytes", 1.0, "bytes/transfer"),
    )
    return [
        row(name, grown.rate, "transfers/s", method, fewest.rate),
        *(
            row(
                f"{name}_{part}",
                grown.per_transfer(attribute) * scale,
                unit,
                method,
                fewest.per_transfer(attribute) * scale,
            )
            for part, attribute, scale, unit in costs
        ),
    ]


async def measure(tell: Callable[[list[Row]], None] = lambda _: None) -> list[Row]:
    """All of it, in about five minutes of a quiet machine; `tell` hears of each part at once.

    FISC_BENCH_LEDGER_ENTRIES=2000000 leaves out the longest step of what is on file.
    """
    rows: list[Row] = []

    def add(more: list[Row]) -> None:
        rows.extend(more)
        tell(more)

    add(measure_function())
    with ledger_house.open_cluster() as cluster:
        database = await pgbench.prepare(cluster.admin_url)
        url = await ledger_house.make_database(cluster, "ledger")
        async with ledger_house.serving(cluster, url) as house:
            add(await measure_rates(house, database))
            add(await measure_low_load(house))
        add(await measure_posting(url))
        async for more in measure_scaling(cluster):
            add(more)
    return rows


async def _measure_until_stopped() -> list[Row]:
    """Told to stop, it stops what it started."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await measure(tell=figures.show)


def main() -> None:
    # As a service does at its start: the clients of the house are services.
    memory.settle()
    figures.write(uvloop.run(_measure_until_stopped()))


if __name__ == "__main__":
    main()
