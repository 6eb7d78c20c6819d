"""What a run cost: CPU and memory of each process, commits and log of the database, the company its batches had."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import prometheus_client
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.environment import LocalSettings
from deploy.local.postgres import USER

LOAD_GENERATOR = "load generator"
STORES = ("postgres", "redis")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_METRICS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters of one moment; two of them tell what lay between."""

    cpu_s: Mapping[str, float]
    commits: int
    wal_bytes: int
    batches: Mapping[str, tuple[float, float]]
    """(batches, items in them) by the coalescer's name."""


async def read(settings: LocalSettings, pids: Mapping[str, int]) -> Reading:
    """All counters now."""
    commits, wal_bytes = await _database(settings)
    return Reading(
        cpu_s={name: cpu_s(pid) for name, pid in pids.items()}
        | {LOAD_GENERATOR: time.process_time()},
        commits=commits,
        wal_bytes=wal_bytes,
        batches=await _batches(settings, pids),
    )


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    total = 0
    for folder in (Path(f"/proc/{pid}"), *_children(pid)):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS_A_SECOND


def resident_mb(pid: int) -> float:
    """Memory of one process that is in use now; a database's children share theirs, so they are not added up."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * _PAGE_BYTES / 1e6


def _children(pid: int) -> list[Path]:
    """Postgres works in children; a wrapper process may stand between."""
    found: list[Path] = []
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    for child in tasks.read_text().split() if tasks.exists() else []:
        found += [Path(f"/proc/{child}"), *_children(int(child))]
    return found


async def _database(settings: LocalSettings) -> tuple[int, int]:
    """Commits that wrote something, and bytes of write-ahead log, of all databases."""
    password = (settings.data_dir / "postgres.password").read_text().strip()
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=settings.postgres_port,
        user=USER,
        password=password,
        database="postgres",
    )
    try:
        row = await connection.fetchrow(
            "SELECT pg_current_xact_id()::text::bigint AS written,"
            " (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal"
        )
    finally:
        await connection.close()
    if row is None:
        raise RuntimeError("the database counts nothing")
    return row["written"], row["wal"]


async def lags_s(settings: LocalSettings, pids: Mapping[str, int]) -> dict[str, float]:
    """How old what each reader of an event log has not taken yet is, by its name."""
    return {
        f"{sample.labels['source']} to {consumer}" if "source" in sample.labels else consumer: value
        for _, family in await _metrics(settings, pids)
        if family.name in ("events_push_lag_seconds", "fisc_events_lag_seconds")
        for sample in family.samples
        for consumer, value in [(sample.labels["consumer"], sample.value)]
    }


async def _batches(
    settings: LocalSettings, pids: Mapping[str, int]
) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for service, family in await _metrics(settings, pids):
        if family.name != "fisc_batch_items":
            continue
        values = {
            (sample.labels.get("name", ""), sample.name): sample.value for sample in family.samples
        }
        for (name, kind), value in values.items():
            if kind == "fisc_batch_items_count":
                found[f"{service} {name}"] = (value, values[name, "fisc_batch_items_sum"])
    return found


async def _metrics(
    settings: LocalSettings, pids: Mapping[str, int]
) -> list[tuple[str, prometheus_client.Metric]]:
    """(service, family) of everything the services show."""
    found = []
    async with httpx.AsyncClient(timeout=_METRICS_TIMEOUT_S, trust_env=False) as http:
        for name in pids:
            if name not in STORES:
                page = await http.get(f"http://127.0.0.1:{settings.metrics_port(name)}/metrics")
                found += [(name, each) for each in text_string_to_metric_families(page.text)]
    return found
