"""What is kept, believed, told and answered of channels' notifications."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from libs.clock import FrozenClock
from services.gateway.domain.channel import (
    Callback,
    CallbackAck,
    CallbackSignatureInvalid,
    Outcome,
    OutcomeKind,
)
from services.gateway.domain.saga import Answered, Attempt, first_attempt
from services.gateway.usecases.callbacks import REJECTED_KEPT_MAX, REJECTED_WINDOW_S, Callbacks

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
PAID = Outcome(kind=OutcomeKind.SUCCEEDED, amount_minor=100, currency="CNY")
GENUINE, FORGED = b"genuine", b"forged"


class Connector:
    """Believes one body."""

    def __init__(self) -> None:
        self.callback = Callback(event_id="e1", kind="payment", out_ref="p1", outcome=PAID)

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        del headers, now
        if body != GENUINE:
            raise CallbackSignatureInvalid
        return self.callback

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        return CallbackAck(status=200 if ok else 400, content_type="", body=message.encode())


class House:
    """Registry, store and channels at once: what was kept, and what the flows were told."""

    def __init__(self) -> None:
        self.clock = FrozenClock(NOW)
        self.connected = Connector()
        self.inbox: list[list[Any]] = []
        self.told: list[tuple[str, Answered]] = []
        self.attempts: dict[str, Attempt] = {"p1": first_attempt("pay_1", "PAYMENT", "a", 1, NOW)}
        me = cast("Any", self)
        self.callbacks = Callbacks(
            registry=me, store=me, channels=me, tellers={"payment": self.tell}, clock=self.clock
        )

    async def tell(self, subject_id: str, signal: Answered) -> None:
        self.told.append((subject_id, signal))

    async def connector(self, _: str) -> Connector:
        return self.connected

    async def receive_callback(
        self, channel_id: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> int:
        del channel_id, headers, now
        self.inbox.append([body, "RECEIVED"])
        return len(self.inbox) - 1

    async def settle_callback(
        self, inbox_id: int, *, event_id: str, out_ref: str, result: str
    ) -> None:
        del event_id, out_ref
        self.inbox[inbox_id][1] = result

    async def is_callback_applied(self, _: str, event_id: str) -> bool:
        return event_id == self.connected.callback.event_id and any(
            result in {"APPLIED", "NOTICED"} for _, result in self.inbox
        )

    async def find_attempt(self, _: str, out_ref: str) -> Attempt | None:
        return self.attempts.get(out_ref)

    async def receive(self, body: bytes) -> int:
        return (await self.callbacks.receive("a", {}, body)).status


@pytest.fixture
def house() -> House:
    return House()


async def test_a_genuine_one_is_kept_told_once_and_accepted_however_often_it_comes(
    house: House,
) -> None:
    assert [await house.receive(GENUINE) for _ in range(3)] == [200, 200, 200]
    assert [result for _, result in house.inbox] == ["APPLIED", "DUPLICATE", "DUPLICATE"]
    [(subject_id, signal)] = house.told
    assert (subject_id, signal.outcome) == ("pay_1", PAID)


async def test_a_forged_one_is_kept_as_it_came_and_told_to_nobody(house: House) -> None:
    assert await house.receive(FORGED) == 400
    assert house.inbox == [[FORGED, "CALLBACK_SIGNATURE_INVALID"]]
    assert house.told == []


async def test_one_of_an_order_that_is_not_ours_shall_come_again(house: House) -> None:
    house.attempts.clear()
    assert await house.receive(GENUINE) == 400
    assert house.inbox == [[GENUINE, "UNKNOWN_ORDER"]]


async def test_a_payment_told_under_a_refunds_number_is_not_applied(house: House) -> None:
    house.attempts["p1"] = first_attempt("ref_1", "REFUND", "a", 1, NOW)
    assert await house.receive(GENUINE) == 400
    assert (house.inbox[0][1], house.told) == ("KIND_MISMATCH", [])


async def test_what_is_about_none_of_our_orders_is_kept_and_accepted(house: House) -> None:
    house.connected.callback = Callback(event_id="e9", kind="notice", out_ref="", outcome=PAID)
    assert [await house.receive(GENUINE) for _ in range(2)] == [200, 200]
    assert [result for _, result in house.inbox] == ["NOTICED", "DUPLICATE"]
    assert house.told == []


async def test_a_flood_of_forgeries_fills_no_table_and_hides_no_genuine_one(house: House) -> None:
    for _ in range(REJECTED_KEPT_MAX + 50):
        assert await house.receive(FORGED) == 400
    assert len(house.inbox) == REJECTED_KEPT_MAX

    assert await house.receive(GENUINE) == 200
    assert house.inbox[-1] == [GENUINE, "APPLIED"]

    house.clock.advance(REJECTED_WINDOW_S)
    await house.receive(FORGED)
    assert house.inbox[-1] == [FORGED, "CALLBACK_SIGNATURE_INVALID"]
