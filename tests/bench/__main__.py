"""`make bench`: one unary hop, payments end to end, CPU a payment. Writes build/bench.json and prints it as a table.

Load generator, services, database and sandbox share the machine's cores. Figures are of this machine in this hour: compare ratios.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import uvloop

from deploy.local import ports
from deploy.local.environment import LocalSettings
from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2
from tests.bench.load import Result, closed_loop, open_loop
from tests.integration.gateway.house import GROUPS, open_house
from tests.suite_runner import running_suite

OUTPUT = Path("build/bench.json")
IN_FLIGHT = 64
WARM_UP_S = 3.0
DURATION_S = 10.0
OPEN_LOOP_SHARE = 0.7
TIMEOUT_S = 20.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_by_process(pids: dict[str, int]) -> dict[str, float]:
    """CPU seconds so far by name, the load generator's own among them."""
    return {name: cpu_s(pid) for name, pid in pids.items()} | {
        "load generator": time.process_time()
    }


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    total = 0
    for stat in (Path(f"/proc/{pid}/stat"), *_children(pid)):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_A_SECOND


def _children(pid: int) -> list[Path]:
    """Postgres works in children; a wrapper process may stand between."""
    found: list[Path] = []
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    for child in tasks.read_text().split() if tasks.exists() else []:
        found += [Path(f"/proc/{child}/stat"), *_children(int(child))]
    return found


@contextmanager
def echo_server() -> Iterator[int]:
    """A bare echo server in a process of its own; yields its port."""
    port = ports.find_free()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.echo", str(port)], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield port
    finally:
        server.terminate()
        server.wait()


async def measure_hop(size: int) -> Result:
    """Unary echo of `size` bytes, IN_FLIGHT at once."""
    message = b"x" * size
    with echo_server() as port:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/bench.Echo/Echo"
            )

            async def call() -> bool:
                return len(await echo(message, timeout=TIMEOUT_S)) == size

            await closed_loop(call, in_flight=IN_FLIGHT, duration_s=1.0)
            return await closed_loop(call, in_flight=IN_FLIGHT, duration_s=5.0)


async def measure_payments(
    settings: LocalSettings, pids: dict[str, int]
) -> tuple[Result, Result, dict[str, float]]:
    """(peak, latency at 70 % of it, CPU ms a payment by process during the peak)."""
    async with open_house(settings) as house:
        card = method_pb2.PAYMENT_METHOD_CARD
        for _ in range(2):
            await house.new_channel(card, notify_immediate=False)
        money = money_pb2.Money(currency="CNY", amount_minor=1999)

        async def call() -> bool:
            request = payment_pb2.CreatePaymentRequest(
                request_id=secrets.token_hex(12), amount=money, method=card
            )
            try:
                response = await house.payments.CreatePayment(
                    request, timeout=TIMEOUT_S, metadata=house.key
                )
            except grpc.aio.AioRpcError:
                return False
            return response.payment.state == payment_pb2.Payment.STATE_SUCCEEDED

        await closed_loop(call, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
        before = cpu_by_process(pids)
        peak = await closed_loop(call, in_flight=IN_FLIGHT, duration_s=DURATION_S)
        done = peak.calls - peak.errors
        cpu_ms = {
            name: (spent_s - before[name]) * 1000 / done
            for name, spent_s in cpu_by_process(pids).items()
        }
        await asyncio.sleep(2)
        steady = await open_loop(call, rate=peak.rate * OPEN_LOOP_SHARE, duration_s=DURATION_S)
        return peak, steady, cpu_ms


async def main() -> None:
    hop = await measure_hop(size=200)
    pids: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_suite(Path(folder), GROUPS, pids=pids) as settings,
    ):
        peak, steady, cpu_ms = await measure_payments(settings, pids)
    rows = [
        _row("unary_hop", hop.rate, "calls/s", f"bare grpc.aio echo, {IN_FLIGHT} in flight"),
        _row(
            "payments_peak",
            peak.rate,
            "payments/s",
            f"CreatePayment end to end, closed loop, {IN_FLIGHT} in flight, {peak.errors} errors",
            baseline=hop.rate,
        ),
        _row("payments_peak_p50", peak.p50_ms, "ms", "as payments_peak"),
        _row("payments_peak_p99", peak.p99_ms, "ms", "as payments_peak"),
        _row(
            "payments_steady_p50", steady.p50_ms, "ms", f"open loop at 70 %, {steady.errors} errors"
        ),
        _row("payments_steady_p99", steady.p99_ms, "ms", "as payments_steady_p50"),
    ]
    rows += [
        _row(f"cpu_{name.replace(' ', '_')}", value, "CPU ms/payment", "during payments_peak")
        for name, value in sorted(cpu_ms.items())
    ]
    report(rows)


def report(rows: list[dict[str, Any]]) -> None:
    """Writes the figures down and shows them."""
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3f}"
        line = f"{row['name']:24} {row['value']:12.2f} {row['unit']:16} {ratio:>8}"
        print(f"{line}  {row['method']}")
    print(f"written to {OUTPUT}")


def _row(
    name: str, value: float, unit: str, method: str, baseline: float | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": None if baseline is None else round(baseline, 3),
        "ratio": None if baseline is None else round(value / baseline, 4),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "method": method,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    uvloop.run(main())
