"""Answers a channel should never give: none of them may be taken for a definite word."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.clock import FrozenClock
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.wechat.connector import WechatConnector
from services.gateway.domain.channel import ChannelUnavailable, Outcome, OutcomeKind
from tests.contract.conformance.orders import sent


@contextlib.asynccontextmanager
async def _answering(
    platform: Any, status: int, headers: dict[str, str], body: bytes
) -> AsyncIterator[WechatConnector]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with ChannelHttp() as http:
        yield WechatConnector(
            base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            credentials=platform.credentials,
            http=http,
            clock=FrozenClock(platform.now),
            new_nonce=lambda: "nonce",
            timeout_s=2.0,
        )
    server.close()


async def _query(platform: Any, status: int, body: bytes, *, signed: bool = True) -> Outcome:
    headers = platform.headers(body) if signed else {}
    async with _answering(platform, status, headers, body) as connector:
        return await connector.query(sent("pay_1"))


async def test_a_signed_answer_is_believed(platform: Any) -> None:
    outcome = await _query(platform, 200, json.dumps(platform.paid()).encode())
    assert (outcome.kind, outcome.amount_minor) == (OutcomeKind.SUCCEEDED, 1230)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"trade_state":"CLOSED"}'),
        (404, b'{"code":"ORDER_NOT_EXIST","message":"no such order"}'),
        (404, b"<html>not found</html>"),
        (401, b'{"code":"SIGN_ERROR"}'),
    ],
)
async def test_an_unsigned_word_is_no_word(platform: Any, status: int, body: bytes) -> None:
    outcome = await _query(platform, status, body, signed=False)
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "ANSWER_SIGNATURE_INVALID")


@pytest.mark.parametrize(
    "change",
    [
        {"out_trade_no": "pay_2"},
        {"mchid": "1900000002"},
        {"trade_state": None},
        {"amount": None},
        {"amount": {"total": 12.3, "currency": "CNY"}},
    ],
)
async def test_an_answer_that_does_not_fit_the_question_is_unknown(
    platform: Any, change: dict[str, object]
) -> None:
    outcome = await _query(platform, 200, json.dumps(platform.paid(**change)).encode())
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "ANSWER_MALFORMED")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe"])
async def test_an_answer_that_cannot_be_decoded_is_unknown(platform: Any, body: bytes) -> None:
    assert (await _query(platform, 200, body)).code == "ANSWER_MALFORMED"


async def test_a_bill_is_not_fetched_from_elsewhere(platform: Any) -> None:
    announcement = {
        "hash_type": "SHA1",
        "hash_value": "0" * 40,
        "download_url": "http://169.254.169.254/latest/meta-data",
    }
    body = json.dumps(announcement).encode()
    async with _answering(platform, 200, platform.headers(body), body) as connector:
        with pytest.raises(ChannelUnavailable, match="not at the channel"):
            await connector.fetch_bill(platform.now.date())
