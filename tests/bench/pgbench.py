"""What the database itself can do here: pgbench's TPC-B, so that a figure of ours has one beside it of the same hour.

Where the program is missing its statements run through asyncpg, in a process of their own
(`python -m tests.bench.pgbench URL CLIENTS SECONDS`), which is slower than the program.
"""

import asyncio
import os
import random
import re
import shutil
import sys
import time
from pathlib import Path

import asyncpg
import uvloop

from deploy.local import binaries, postgres

SCALE = 20
CLIENTS = 16
THREADS = 2
TELLERS = 10 * SCALE
ACCOUNTS = 100_000 * SCALE
_TPS = re.compile(r"tps = ([0-9.]+)")
_TABLES = f"""
CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 100);
CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO pgbench_branches SELECT n, 0, '' FROM generate_series(1, {SCALE}) AS n;
INSERT INTO pgbench_tellers SELECT n, (n - 1) / 10 + 1, 0, '' FROM generate_series(1, {TELLERS}) AS n;
INSERT INTO pgbench_accounts SELECT n, (n - 1) / 100000 + 1, 0, '' FROM generate_series(1, {ACCOUNTS}) AS n;
"""


class Pgbench:
    """TPC-B tables in a database of their own."""

    def __init__(self, url: str, program: Path | None) -> None:
        self.url = url
        self.program = program

    @property
    def method(self) -> str:
        """What was run, in words."""
        how = f"TPC-B, scale {SCALE}, prepared, {CLIENTS} clients"
        return f"pgbench {how}" if self.program else f"pgbench's statements through asyncpg, {how}"

    async def measure_tps(self, duration_s: int) -> float:
        """Transactions a second."""
        if self.program is not None:
            argv = [str(self.program), *("-M", "prepared"), "-c", str(CLIENTS), "-j", str(THREADS)]
            text = await _run(*argv, "-n", "-T", str(duration_s), self.url)
            found = _TPS.search(text)
            assert found is not None, text
            return float(found[1])
        module = (sys.executable, "-m", "tests.bench.pgbench")
        return float(await _run(*module, self.url, str(CLIENTS), str(duration_s)))


async def prepare(admin_url: str) -> Pgbench:
    """Make the tables, with the program if it is here."""
    url = await postgres.create_database(admin_url, "pgbench")
    program = _find_program()
    if program is not None:
        await _run(str(program), "-i", "-q", "-s", str(SCALE), url)
    else:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(_TABLES, timeout=120)
            await connection.execute("VACUUM ANALYZE", timeout=120)
        finally:
            await connection.close()
    return Pgbench(url, program)


def _find_program() -> Path | None:
    beside = binaries.find_postgres(os.environ).bin_dir / "pgbench"
    if beside.exists():
        return beside
    found = shutil.which("pgbench")
    return Path(found) if found else None


async def _run(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def _drive(url: str, clients: int, duration_s: float) -> float:
    """The same statements, one transaction a client at a time."""
    done = 0
    stop_at = time.perf_counter() + duration_s

    async def client(connection: "asyncpg.Connection[asyncpg.Record]", rng: random.Random) -> None:
        nonlocal done
        statements = [
            await connection.prepare(text)
            for text in (
                "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2",
                "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
                "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2",
                "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2",
                "INSERT INTO pgbench_history VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)",
            )
        ]
        account, look, teller, branch, history = statements
        while time.perf_counter() < stop_at:
            aid, tid = rng.randint(1, ACCOUNTS), rng.randint(1, TELLERS)
            bid, delta = rng.randint(1, SCALE), rng.randint(-5000, 5000)
            async with connection.transaction():
                await account.fetch(delta, aid)
                await look.fetch(aid)
                await teller.fetch(delta, tid)
                await branch.fetch(delta, bid)
                await history.fetch(tid, bid, aid, delta)
            done += 1

    connections = [await asyncpg.connect(url) for _ in range(clients)]
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, connection in enumerate(connections):
            group.create_task(client(connection, random.Random(number)))
    elapsed_s = time.perf_counter() - began
    for connection in connections:
        await connection.close()
    return done / elapsed_s


if __name__ == "__main__":
    print(uvloop.run(_drive(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
