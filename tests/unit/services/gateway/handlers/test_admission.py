"""The gate: who may begin new work, and who is asked to come back."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import REGISTRY

from libs.errors import Overloaded
from services.gateway.handlers import admission
from services.gateway.handlers.admission import AdmissionInterceptor, Gate


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("admission_rejected_total", {"reason": reason}) or 0.0


def test_calls_beyond_the_limit_are_refused_and_told_when_to_come_back() -> None:
    gate = Gate(in_flight_max=2, share_max=1)
    before = refused("in_flight")
    with gate.place(), gate.place(), pytest.raises(Overloaded) as error, gate.place():
        pass
    assert error.value.retry_after_s == admission.RETRY_AFTER_S
    assert error.value.metadata == {"limit": "in_flight"}
    assert refused("in_flight") - before == 1
    with gate.place(), gate.place():
        pass


def test_a_place_is_free_again_after_a_call_that_broke() -> None:
    gate = Gate(in_flight_max=1, share_max=1)
    for take in (gate.place, lambda: gate.share("m1")):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), take():
                raise ZeroDivisionError


def test_one_merchant_cannot_take_the_places_of_all() -> None:
    gate = Gate(in_flight_max=4, share_max=2)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(gate.share("greedy"))
        with pytest.raises(Overloaded) as error, gate.share("greedy"):
            pass
        assert error.value.metadata == {"limit": "merchant_share"}
        held.enter_context(gate.share("modest"))
    with gate.share("greedy"):
        pass


def test_items_of_bulk_calls_have_room_for_all_and_half_of_it_for_one() -> None:
    gate = Gate(in_flight_max=1, share_max=1, items_max=8)
    with gate.items("greedy", 4):
        with pytest.raises(Overloaded) as error, gate.items("greedy", 1):
            pass
        assert error.value.metadata == {"limit": "bulk_share"}
        assert error.value.retry_after_s == admission.RETRY_AFTER_S
        with gate.items("modest", 3):
            with pytest.raises(Overloaded) as error, gate.items("late", 2):
                pass
            assert error.value.metadata == {"limit": "bulk_items"}
            with gate.items("late", 1):
                pass
    with gate.items("greedy", 4):
        pass


def test_a_saga_keeps_its_place_when_its_caller_has_given_up() -> None:
    sagas = 2
    gate = Gate(in_flight_max=2, share_max=2, sagas_begun=lambda: sagas)
    with pytest.raises(Overloaded) as error, gate.place():
        pass
    assert error.value.metadata == {"limit": "in_flight"}
    sagas = 1
    with gate.place():
        pass


def test_commits_that_are_waited_for_too_long_close_the_gate() -> None:
    waited_s = admission.COMMIT_WAIT_MAX_S * 2
    gate = Gate(in_flight_max=1, share_max=1, commit_waited_s=lambda: waited_s)
    with pytest.raises(Overloaded) as error, gate.place():
        pass
    assert error.value.metadata == {"limit": "commit_wait"}
    waited_s = 0.0
    with gate.place():
        pass


class LateClock:
    """A clock by which each sleep takes as long as the next entry says."""

    def __init__(self, *sleeps_s: float) -> None:
        self._readings = self._read(sleeps_s)
        self.is_spent = asyncio.Event()

    def __call__(self) -> float:
        return next(self._readings)

    def _read(self, sleeps_s: tuple[float, ...]) -> Iterator[float]:
        now_s = 0.0
        for sleep_s in sleeps_s:
            yield now_s
            now_s += sleep_s
            yield now_s
        self.is_spent.set()
        while True:
            yield now_s


@pytest.mark.parametrize(
    ("sleeps_s", "is_open"),
    [
        ((0.1, 2.0), True),  # one pause, say of the garbage collector
        ((2.0, 2.0), False),
        ((2.0, 2.0, 0.1), True),
    ],
)
async def test_an_event_loop_that_stays_late_closes_the_gate(
    sleeps_s: tuple[float, ...], is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "LAG_PROBE_INTERVAL_S", 0.01)
    clock = LateClock(*sleeps_s)
    gate = Gate(in_flight_max=1, share_max=1, clock_s=clock)
    watching = asyncio.create_task(gate.watch_lag())
    await clock.is_spent.wait()
    try:
        with gate.place():
            assert is_open
    except Overloaded as error:
        assert not is_open
        assert error.metadata == {"limit": "event_loop_lag"}
    watching.cancel()


def test_only_what_begins_new_work_needs_a_place() -> None:
    interceptor = AdmissionInterceptor(Gate(in_flight_max=1, share_max=1))

    async def inner(_: object, __: object) -> None:
        return None

    def is_guarded(name: str) -> bool:
        method = f"/fisc.gateway.v1.PaymentService/{name}"
        return interceptor.wrap(method, inner, is_stream=False) is not inner

    begins = ("CreatePayment", "CapturePayment", "CreateRefund", "CreatePayout")
    assert all(map(is_guarded, (*begins, "BatchCreatePayments")))
    assert not any(map(is_guarded, ("GetPayment", "ListPayments", "CancelPayment", "GetRefund")))
