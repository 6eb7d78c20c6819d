"""Payments a second over a ledger with ten million entries on file, against one with ten thousand."""

import asyncio
import os
import statistics

from deploy.local.environment import LocalSettings
from deploy.local.postgres import USER
from libs.db.pool import open_pool
from tests.bench import ledger_house
from tests.bench.figures import Row, row
from tests.bench.ledger_house import HOT, MERCHANTS
from tests.bench.ledger_rows import Filler
from tests.bench.load import closed_loop
from tests.bench.readings import Reading
from tests.bench.till import Till

# A transfer leaves two entries.
FEWEST = 10_000
MOST = int(os.environ.get("FISC_BENCH_ENTRIES", "10000000"))
IN_FLIGHT = 128
WARM_UP_S = 5.0
ROUND_S = 8.0
ROUNDS = 3


class Growth:
    """Suites of their own, one after the other: what is on file must be there before the first payment."""

    def __init__(self) -> None:
        self._rates: dict[int, float] = {}
        self._postgres_ms: dict[int, float] = {}

    async def measure(self, till: Till, entries: int) -> None:
        """Puts so many entries on file, and takes payments."""
        await _fill(till.settings, entries)
        call = till.pay()
        await closed_loop(call, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
        rates: list[float] = []
        before, done = await till.read(), 0
        for _ in range(ROUNDS):
            result = await closed_loop(call, in_flight=IN_FLIGHT, duration_s=ROUND_S)
            rates.append(result.rate)
            done += result.calls - result.errors
        self._rates[entries] = statistics.median(rates)
        self._postgres_ms[entries] = _spent_ms(before, await till.read(), done)
        await asyncio.sleep(1)

    def rows(self) -> list[Row]:
        """The many against the few."""
        method = f"{MOST} ledger entries on file against {FEWEST}, {IN_FLIGHT} in flight"
        return [
            row("payments_grown", self._rates[MOST], "payments/s", method, self._rates[FEWEST]),
            row(
                "cpu_postgres_grown",
                self._postgres_ms[MOST],
                "CPU ms/payment",
                method,
                self._postgres_ms[FEWEST],
            ),
        ]


async def _fill(settings: LocalSettings, entries: int) -> None:
    password = (settings.data_dir / "postgres.password").read_text().strip()
    url = f"postgresql://{USER}:{password}@127.0.0.1:{settings.postgres_port}/fisc_account"
    async with await open_pool(url, size=2, application_name="bench") as pool:
        if await pool.fetchval("SELECT count(*) FROM transfer"):
            raise RuntimeError(
                "the bulk load seals from the first batch on; something was booked before"
            )
        await ledger_house.open_accounts(pool)
        await Filler(HOT, MERCHANTS).fill(pool, entries // 2)


def _spent_ms(before: Reading, after: Reading, done: int) -> float:
    return (after.cpu_s["postgres"] - before.cpu_s["postgres"]) * 1000 / done
