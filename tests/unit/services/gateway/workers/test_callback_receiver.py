"""The door: bounded in size and time, and an answer for everything."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import httpx
import pytest

from libs.errors import FiscError
from services.gateway.domain.channel import CallbackAck
from services.gateway.domain.errors import ChannelNotFound
from services.gateway.workers import callback_receiver


class Callbacks:
    """Answers as told, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, dict[str, str], bytes]] = []
        self.raises: FiscError | None = None

    async def receive(
        self, channel_id: str, headers: Mapping[str, str], body: bytes
    ) -> CallbackAck:
        self.given.append((channel_id, dict(headers), body))
        if self.raises:
            raise self.raises
        return CallbackAck(status=200, content_type="text/plain", body=b"success")


@pytest.fixture
def callbacks() -> Callbacks:
    return Callbacks()


@pytest.fixture
async def door(callbacks: Callbacks) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(callback_receiver.app(cast("Any", callbacks)))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        yield client


async def test_the_bytes_go_on_untouched_and_the_answer_is_the_channels(
    door: httpx.AsyncClient, callbacks: Callbacks
) -> None:
    answer = await door.post("/callbacks/a", content=b"sign=%2B&x=\xe4", headers={"X-Sign": "1"})
    assert (answer.status_code, answer.content) == (200, b"success")
    assert answer.headers["content-type"].startswith("text/plain")
    [(channel_id, headers, body)] = callbacks.given
    assert (channel_id, headers["x-sign"], body) == ("a", "1", b"sign=%2B&x=\xe4")


async def test_what_is_too_large_is_not_read(door: httpx.AsyncClient, callbacks: Callbacks) -> None:
    largest = b"x" * callback_receiver.BODY_BYTES_MAX
    assert (await door.post("/callbacks/a", content=largest)).status_code == 200
    refused = await door.post("/callbacks/a", content=largest + b"x")
    assert (refused.status_code, refused.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert len(callbacks.given) == 1


async def test_who_dawdles_is_turned_away(
    door: httpx.AsyncClient, callbacks: Callbacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_receiver, "BODY_TIMEOUT_S", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b"x"

    refused = await door.post("/callbacks/a", content=drip())
    assert (refused.status_code, refused.json()["code"]) == (408, "BODY_TOO_SLOW")
    assert callbacks.given == []


@pytest.mark.parametrize(
    ("error", "status"), [(ChannelNotFound(channel_id="a"), 404), (FiscError("away"), 503)]
)
async def test_what_cannot_be_applied_now_is_asked_for_again(
    door: httpx.AsyncClient, callbacks: Callbacks, error: FiscError, status: int
) -> None:
    callbacks.raises = error
    assert (await door.post("/callbacks/a", content=b"{}")).status_code == status


async def test_a_browser_that_comes_by_gets_nothing(door: httpx.AsyncClient) -> None:
    assert (await door.get("/callbacks/a")).status_code == 405
