"""What is under way when a process dies, and how it must end all the same."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.chaos.actor import PAYOUT_TOO_LARGE_MINOR, QR, Actor, Ended

Act: TypeAlias = Callable[[Actor], Coroutine[Any, Any, Ended]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`prepare` runs undisturbed; `act` is the operation under attack."""

    name: str
    prepare: Callable[[Actor], Awaitable[None]]
    act: Act
    ends: str


async def _one_channel(actor: Actor) -> None:
    await actor.open_channels({})


async def _two_channels(actor: Actor) -> None:
    await actor.open_channels({}, {})


async def _declining_first(actor: Actor) -> None:
    await actor.open_channels({"soft_decline_rate": 1}, {}, {})


async def _silent_after_charge(actor: Actor) -> None:
    await actor.open_channels({}, {})
    await actor.house.fault(actor.channels[0], "timeout_after_charge", count=1)


async def _silent_and_telling(actor: Actor) -> None:
    await actor.open_channels({"notify_immediate": True, "callback_after_ms": [0, 0]}, {})
    await actor.house.fault(actor.channels[0], "timeout_after_charge", count=1)


async def _deaf(actor: Actor) -> None:
    await actor.open_channels({}, {})
    await actor.house.fault(actor.channels[0], "down", count=1)


async def _authorized(actor: Actor) -> None:
    await _one_channel(actor)
    await actor.authorize()


async def _authorized_and_forgetful(actor: Actor) -> None:
    await _authorized(actor)
    await actor.house.fault(actor.channels[0], "commit_then_error", operation="capture", count=1)


async def _paid(actor: Actor) -> None:
    await _one_channel(actor)
    await actor.pay()


async def _scanned_soon(actor: Actor) -> None:
    await actor.open_channels({"auto_pay_after_ms": [300, 300], "callback_after_ms": [0, 0]}, {})
    await actor.house.fault(actor.channels[0], "duplicate_callback", count=1)


async def _funded(actor: Actor) -> None:
    await actor.house.fund(2 * PAYOUT_TOO_LARGE_MINOR)


def _pay(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.pay()


def _be_declined(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.pay(payer_token="sim:INSUFFICIENT_FUNDS")


def _pay_by_code(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.pay(QR)


def _refund(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.refund()


def _authorize(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.authorize()


def _capture(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.capture()


def _void(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.void()


def _pay_out(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.payout()


def _pay_out_too_much(actor: Actor) -> Coroutine[Any, Any, Ended]:
    return actor.payout(PAYOUT_TOO_LARGE_MINOR)


def _scenario(
    name: str,
    prepare: Callable[[Actor], Awaitable[None]],
    act: Act,
    ends: str = "SUCCEEDED",
) -> Scenario:
    return Scenario(name=name, prepare=prepare, act=act, ends=ends)


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        _scenario("success", _two_channels, _pay),
        _scenario("failover", _declining_first, _pay),
        _scenario("decline", _two_channels, _be_declined, ends="FAILED"),
        _scenario("unknown", _silent_after_charge, _pay),
        _scenario("unknown, told", _silent_and_telling, _pay),
        _scenario("never arrived", _deaf, _pay),
        _scenario("refund", _paid, _refund),
        _scenario("payout", _funded, _pay_out),
        _scenario("payout refused", _funded, _pay_out_too_much, ends="FAILED"),
        _scenario("QR callback", _scanned_soon, _pay_by_code),
        _scenario("authorise", _two_channels, _authorize, ends="AUTHORIZED"),
        _scenario("capture", _authorized, _capture),
        _scenario("capture unknown", _authorized_and_forgetful, _capture),
        _scenario("void", _authorized, _void, ends="CANCELED"),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A process dies the `hits`th time it comes to `point` while `scenario` is under way."""

    point: str
    scenario: str
    hits: int = 1
    service: str = "gateway"

    @property
    def name(self) -> str:
        return f"{self.point}:{self.hits} {self.scenario}"


# Begun by a request of their own; a void is a step of a payment that stands already.
_ALL = tuple(name for name in SCENARIOS if name not in {"unknown, told", "void"})
_MOVED = tuple(name for name in _ALL if name not in {"decline", "authorise"})
_BOOKED = _MOVED
_PAYOUTS = ("payout", "payout refused")
_UNKNOWN = ("unknown", "never arrived", "capture unknown")
# Each scenario comes to each of its points, so a case that does not fire is a broken test and fails the run.
_WHERE: Final = {
    "K1": _ALL,
    "K2": _ALL,
    "K3": _PAYOUTS,
    "K4": _BOOKED,
    "K5": _PAYOUTS,
    "K6": _ALL,
    "K7": _ALL,
    "K8": _UNKNOWN,
    "K9": (*_ALL, "void"),
    "K10": _ALL,
    "K11": _BOOKED,
    "K12": _BOOKED,
    "K13": ("never arrived", "payout refused", "void"),
    "K15": ("QR callback", "unknown, told"),
}
_SECOND: Final = (
    ("K6", "failover"),
    ("K7", "failover"),
    ("K9", "failover"),
    ("K9", "payout"),
    ("K9", "never arrived"),
    ("K15", "QR callback"),
)
# Those that recover without waiting for a lease come first, since a case waits for the rows of those before it.
QUICK: Final = (
    Case(point="K12", scenario="success"),
    Case(point="K10", scenario="decline"),
    Case(point="K7", scenario="unknown"),
    Case(point="K6", scenario="refund"),
)


def matrix(only: frozenset[str], *, quick: bool) -> list[Case]:
    """The cases of the points in `only`, all if empty; `quick`: one of each kind."""
    cases = [
        Case(point=point, scenario=scenario, service="account" if point == "K4" else "gateway")
        for point, scenarios in _WHERE.items()
        for scenario in scenarios
    ]
    cases += [Case(point=point, scenario=scenario, hits=2) for point, scenario in _SECOND]
    return [case for case in (QUICK if quick else cases) if not only or case.point in only]
