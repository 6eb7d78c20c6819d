"""A pusher tells what its release knows, and waits before what only a later one does."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from libs.errors import Unavailable
from libs.events.log import StoredEvent
from libs.testing import eventually
from services.gateway.workers import pushers
from tests.unit.services.gateway.domain.orders import NOW

SPLIT = "payment.split"


class Outbox:
    """An event log whose cursors are numbers."""

    def __init__(self, *types: str) -> None:
        self.types = list(types)
        self.cursor = ""
        self.polls = 0

    async def read_events(self, cursor: str, limit: int) -> list[StoredEvent]:
        self.polls += 1
        return [
            StoredEvent(
                event_id=f"e{number}",
                type=kind,
                merchant_id="m",
                subject_id="s",
                occurred_at=NOW,
                payload=b"",
                payload_type="",
                cursor=str(number),
            )
            for number, kind in enumerate(self.types, 1)
            if number > int(cursor or 0)
        ][:limit]

    async def get_cursor(self, consumer: str) -> str:
        return self.cursor

    async def move_cursor(self, consumer: str, before: str, after: str) -> str:
        if self.cursor == before:
            self.cursor = after
        return self.cursor


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACE_S", "BACK_OFF_S", "BACK_OFF_MAX_S", "TOO_NEW_WAIT_S"):
        monkeypatch.setattr(pushers, name, 0.001)


class Below:
    """The service that is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_away = False

    async def __call__(self, events: Sequence[StoredEvent]) -> None:
        if self.is_away:
            raise Unavailable("it is away")
        self.told += [event.type for event in events]


@contextmanager
def running(outbox: Outbox, below: Below) -> "Iterator[asyncio.Task[None]]":
    task = asyncio.create_task(pushers.Pusher("below", outbox, below).run())
    try:
        yield task
    finally:
        task.cancel()


def polled(outbox: Outbox, more: int = 3) -> Callable[[], bool]:
    """Whether the pusher has looked again since."""
    seen = outbox.polls
    return lambda: outbox.polls >= seen + more


async def test_what_is_known_is_pushed_and_the_first_unknown_event_is_left() -> None:
    outbox, below = Outbox("payment.created", "payment.succeeded", SPLIT, "refund.created"), Below()

    with running(outbox, below) as task:
        await eventually(lambda: outbox.cursor == "2")
        await eventually(polled(outbox))

    assert not task.done()
    assert below.told == ["payment.created", "payment.succeeded"]
    assert outbox.cursor == "2", "the later release's replica goes on from here"


async def test_a_pusher_goes_on_behind_it_once_another_replica_has_pushed_it() -> None:
    outbox, below = Outbox(SPLIT, "refund.created"), Below()

    with running(outbox, below):
        await eventually(polled(outbox))
        assert below.told == []
        outbox.cursor = "1"
        await eventually(lambda: outbox.cursor == "2")

    assert below.told == ["refund.created"]


async def test_what_could_not_be_pushed_before_an_unknown_event_is_pushed_again() -> None:
    outbox, below = Outbox("payment.created", SPLIT), Below()
    below.is_away = True

    with running(outbox, below):
        await eventually(polled(outbox))
        assert outbox.cursor == ""
        below.is_away = False
        await eventually(lambda: outbox.cursor == "1")

    assert below.told == ["payment.created"]
