"""A follower stops before what only a later release understands, and leaves it to that release's replica."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from fisc.common.v1 import events_pb2
from libs.events import consumer
from libs.events.kinds import EventTooNew
from libs.testing import eventually


class Database:
    """One cursor."""

    def __init__(self) -> None:
        self.cursor = ""

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Database"]:
        yield self

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    async def execute(self, sql: str, *arguments: str) -> None:
        """The row is there already."""

    async def fetchval(self, sql: str, *arguments: str) -> str | bool:
        if "UPDATE" not in sql:
            return self.cursor
        *_, before, after = arguments
        if before != self.cursor:
            return False
        self.cursor = after
        return True


class Feed:
    """Events as they were told, one a response; the cursor is how many were read."""

    def __init__(self, *types: str) -> None:
        self.types = types
        self.asked: list[str] = []

    def StreamEvents(  # noqa: N802 - the contract's name
        self, request: events_pb2.StreamEventsRequest, **options: object
    ) -> "Call":
        self.asked.append(request.cursor)
        first = int(request.cursor or 0)
        return Call(
            events_pb2.StreamEventsResponse(
                events=[events_pb2.Event(event_id=f"e{number}", type=self.types[number])],
                next_cursor=str(number + 1),
            )
            for number in range(first, len(self.types))
        )


class Call:
    """One stream."""

    def __init__(self, responses: Iterator[events_pb2.StreamEventsResponse]) -> None:
        self._responses = responses

    async def read(self) -> events_pb2.StreamEventsResponse | None:
        return next(self._responses, None)

    def cancel(self) -> None:
        """Nobody waits for it."""


class House:
    """A consumer, its database and its feed."""

    def __init__(self, *types: str) -> None:
        self.database = Database()
        self.feed = Feed(*types)
        self.applied: list[str] = []
        self.source: dict[str, Any] = {
            "stub": self.feed,
            "consumer": "c",
            "source": "s",
            "pool": self.database,
            "apply": self._apply,
        }

    async def _apply(self, connection: object, events: Sequence[events_pb2.Event]) -> None:
        self.applied += [event.type for event in events]


@contextmanager
def following(house: House) -> "Iterator[asyncio.Task[None]]":
    task = asyncio.create_task(consumer.follow(**house.source))
    try:
        yield task
    finally:
        task.cancel()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "BACK_OFF_INITIAL_S", 0.001)
    monkeypatch.setattr(consumer, "BACK_OFF_MAX_S", 0.002)


async def test_a_follower_waits_before_an_event_of_a_later_release_and_says_so() -> None:
    house = House("payment.created", "payment.split", "payment.succeeded")

    with capture_logs() as logs, following(house) as task:
        await eventually(lambda: house.feed.asked.count("1") > 1)

    assert not task.done()
    assert (house.applied, house.database.cursor) == (["payment.created"], "1")
    told = [line["why"] for line in logs if line["event"] == "event feed interrupted"]
    assert "EVENT_TOO_NEW" in told[0]
    assert "payment.split" in told[0]


async def test_it_goes_on_behind_it_once_the_later_releases_replica_has_applied_it() -> None:
    house = House("payment.created", "payment.split", "payment.succeeded")

    with following(house):
        await eventually(lambda: house.feed.asked.count("1") > 1)
        house.database.cursor = "2"
        await eventually(lambda: house.database.cursor == "3")

    assert house.applied == ["payment.created", "payment.succeeded"]


async def test_whoever_must_catch_up_is_told_that_it_cannot_yet() -> None:
    house = House("payment.created", "payment.split")

    with pytest.raises(EventTooNew):
        await consumer.catch_up(**house.source)

    assert (house.applied, house.database.cursor) == (["payment.created"], "1")
