"""`make overload`: three times the capacity for a minute. What is taken must be done, the rest refused at once.

`python -m tests.faults.overload [--seconds N]`. Prints figures; exits 1 when goodput falls below 80 % of the peak, a saga
stays behind, a caller is told anything but "later", or latency is not back to normal in time. Load generator and suite
share the machine's cores.
"""

import argparse
import asyncio
import dataclasses
import itertools
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import uvloop

from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import operations_pb2, payment_pb2
from tests.bench.load import Result, closed_loop, open_loop
from tests.faults.load import TRY_AGAIN
from tests.faults.world import CARD
from tests.integration.gateway.house import GROUPS, House, open_house
from tests.suite_runner import running_suite

# What a small machine does in a second: who waits longer would rather be told so.
IN_FLIGHT_MAX: Final = 192
IN_FLIGHT: Final = 64
WARM_UP_S: Final = 3.0
PEAK_S: Final = 10.0
OVERLOAD_S: Final = 60.0
OVERLOAD_FACTOR: Final = 3
RATE_MAX: Final = 3_000.0
GOODPUT_SHARE_MIN: Final = 0.8
RECOVERY_MAX_S: Final = 10.0
# A light load by which latency is compared before and after.
LIGHT_SHARE: Final = 0.2
LIGHT_S: Final = 1.0
# A median of one second's calls swings by itself.
NORMAL_FACTOR: Final = 1.5
NORMAL_SLACK_MS: Final = 10.0
CALL_TIMEOUT_S: Final = 5.0
SETTLE_MAX_S: Final = 30.0
MERCHANTS: Final = 4


@dataclass(slots=True, kw_only=True)
class Report:
    """What was seen, and what of it may not be."""

    peak: Result
    overload: Result
    codes: Counter[grpc.StatusCode]
    normal_ms: float
    recovered_s: float
    settled_s: float
    violations: list[str] = field(default_factory=list)

    @property
    def goodput_share(self) -> float:
        return self.overload.rate / self.peak.rate


class Shop:
    """Merchants who want to be paid, in turn."""

    def __init__(self, houses: list[House]) -> None:
        self._houses = itertools.cycle(houses)
        self.codes: Counter[grpc.StatusCode] = Counter()

    async def pay(self) -> bool:
        """Whether a payment went through."""
        house = next(self._houses)
        request = payment_pb2.CreatePaymentRequest(
            request_id=secrets.token_hex(12),
            amount=money_pb2.Money(currency="CNY", amount_minor=1999),
            method=CARD,
        )
        try:
            response = await house.payments.CreatePayment(
                request, timeout=CALL_TIMEOUT_S, metadata=house.key
            )
        except grpc.aio.AioRpcError as error:
            self.codes[error.code()] += 1
            return False
        self.codes[grpc.StatusCode.OK] += 1
        return bool(response.payment.state == payment_pb2.Payment.STATE_SUCCEEDED)


@asynccontextmanager
async def shopping(folder: Path) -> AsyncIterator[tuple[House, Shop]]:
    """A suite with two free channels, and merchants."""
    environ = {"FISC_GATEWAY_IN_FLIGHT_MAX": str(IN_FLIGHT_MAX)}
    with running_suite(folder, GROUPS, environ=environ) as settings:
        async with open_house(settings) as house:
            for _ in range(2):
                await house.new_channel(CARD, notify_immediate=False)
            houses = [dataclasses.replace(house) for _ in range(MERCHANTS)]
            for each in houses:
                await each.new_merchant()
            yield house, Shop(houses)


async def measure(house: House, shop: Shop, overload_s: float) -> Report:
    """Peak, overload, and the way back."""
    await closed_loop(shop.pay, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
    peak = await closed_loop(shop.pay, in_flight=IN_FLIGHT, duration_s=PEAK_S)
    await asyncio.sleep(LIGHT_S)
    light = peak.rate * LIGHT_SHARE
    normal = await open_loop(shop.pay, rate=light, duration_s=3 * LIGHT_S)
    shop.codes.clear()
    rate = min(peak.rate * OVERLOAD_FACTOR, RATE_MAX)
    overload = await open_loop(shop.pay, rate=rate, duration_s=overload_s)
    ended_s = time.monotonic()
    limit_ms = normal.p50_ms * NORMAL_FACTOR + NORMAL_SLACK_MS

    async def is_normal() -> bool:
        light_again = await open_loop(shop.pay, rate=light, duration_s=LIGHT_S)
        return light_again.errors == 0 and light_again.p50_ms <= limit_ms

    recovered_s = await _seconds_until(is_normal, ended_s, SETTLE_MAX_S)

    async def is_settled() -> bool:
        backlog = await house.operations.GetBacklog(
            operations_pb2.GetBacklogRequest(), timeout=CALL_TIMEOUT_S, metadata=house.operator
        )
        return not backlog.lines

    settled_s = await _seconds_until(is_settled, ended_s, SETTLE_MAX_S)
    report = Report(
        peak=peak,
        overload=overload,
        codes=shop.codes,
        normal_ms=normal.p50_ms,
        recovered_s=recovered_s,
        settled_s=settled_s,
    )
    report.violations += _judge(report)
    return report


def _judge(report: Report) -> list[str]:
    violations = [
        f"callers were told {code.name} {count} times"
        for code, count in report.codes.items()
        if code is not grpc.StatusCode.OK and code not in TRY_AGAIN
    ]
    if report.goodput_share < GOODPUT_SHARE_MIN:
        violations.append(f"goodput is {report.goodput_share:.0%} of the peak")
    if report.recovered_s > RECOVERY_MAX_S:
        violations.append(f"latency was back to normal after {report.recovered_s:.1f} s")
    if report.settled_s >= SETTLE_MAX_S:
        violations.append("sagas were left behind")
    return violations


async def _seconds_until(
    is_so: Callable[[], Awaitable[bool]], since_s: float, max_s: float
) -> float:
    while time.monotonic() - since_s < max_s:
        if await is_so():
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - since_s


def show(report: Report) -> None:
    """The figures."""
    peak, overload = report.peak, report.overload
    offered = overload.calls / overload.elapsed_s
    codes = ", ".join(f"{code.name} {count}" for code, count in report.codes.most_common())
    print(
        f"peak        {peak.rate:8.1f} payments/s  p50 {peak.p50_ms:.0f} ms, p99 {peak.p99_ms:.0f} ms"
    )
    print(f"offered     {offered:8.1f} calls/s  for {overload.elapsed_s:.0f} s")
    print(f"goodput     {overload.rate:8.1f} payments/s  {report.goodput_share:.0%} of the peak")
    print(f"latency     p50 {overload.p50_ms:.0f} ms, p99 {overload.p99_ms:.0f} ms of all calls")
    print(f"answers     {codes} (of the overload and the way back)")
    print(f"normal      p50 {report.normal_ms:.0f} ms; again after {report.recovered_s:.1f} s")
    print(f"last saga   ended within {report.settled_s:.1f} s")
    print(
        f"cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f}; {len(report.violations)} violations"
    )
    for violation in report.violations:
        print(f"    {violation}")


async def main(overload_s: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with shopping(Path(folder)) as (house, shop):
            report = await measure(house, shop, overload_s)
    show(report)
    return int(bool(report.violations))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Three times the capacity.")
    parser.add_argument("--seconds", type=float, default=OVERLOAD_S)
    sys.exit(uvloop.run(main(parser.parse_args().seconds)))
