"""Answers Alipay should never give: none of them may be taken for a definite word."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from libs.clock import FrozenClock
from services.gateway.channels.alipay import messages
from services.gateway.channels.alipay.connector import AlipayConnector
from services.gateway.channels.http import ChannelHttp
from services.gateway.domain.channel import (
    BillNotReady,
    ChannelUnavailable,
    Outcome,
    OutcomeKind,
    SentOrder,
)


@contextlib.asynccontextmanager
async def _answering(platform: Any, status: int, body: bytes) -> AsyncIterator[AlipayConnector]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Connection: close"]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with ChannelHttp() as http:
        yield AlipayConnector(
            gateway_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/gateway.do",
            credentials=platform.credentials,
            http=http,
            clock=FrozenClock(platform.now),
            timeout_s=2.0,
        )
    server.close()


def _sent(platform: Any, method: str = "ALIPAY_JSAPI") -> SentOrder:
    return SentOrder(
        out_ref="pay_1", method=method, amount_minor=1230, currency="CNY", sent_at=platform.now
    )


async def _query(
    platform: Any, inner: str, *, status: int = 200, method: str = "ALIPAY_JSAPI"
) -> Outcome:
    body = platform.answer(messages.QUERY, inner)
    async with _answering(platform, status, body) as connector:
        return await connector.query(_sent(platform, method))


PAID = (
    '{"code":"10000","out_trade_no":"pay_1","trade_no":"2026","trade_status":"TRADE_SUCCESS",'
    '"total_amount":"12.30","send_pay_date":"2026-11-11 12:00:00"}'
)


async def test_a_signed_answer_is_believed(platform: Any) -> None:
    outcome = await _query(platform, PAID)
    assert (outcome.kind, outcome.amount_minor) == (OutcomeKind.SUCCEEDED, 1230)


@pytest.mark.parametrize(
    "inner",
    [
        '{"code":"10000","out_trade_no":"pay_1","trade_status":"TRADE_CLOSED"}',
        '{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}',
        '{"code":"40002","sub_code":"isv.invalid-signature"}',
    ],
)
async def test_an_unsigned_word_is_no_word(platform: Any, inner: str) -> None:
    body = f'{{"alipay_trade_query_response":{inner}}}'.encode()
    async with _answering(platform, 200, body) as connector:
        outcome = await connector.query(_sent(platform))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "ANSWER_SIGNATURE_INVALID")
    assert inner in outcome.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"pay_1"', '"pay_2"'),
        ('"TRADE_SUCCESS"', "null"),
        ('"12.30"', "12.30"),
        ('"total_amount":"12.30",', ""),
        ('"2026-11-11 12:00:00"', '"later"'),
    ],
)
async def test_an_answer_that_does_not_fit_the_question_is_unknown(
    platform: Any, old: str, new: str
) -> None:
    outcome = await _query(platform, PAID.replace(old, new))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "ANSWER_MALFORMED")


async def test_an_answer_to_another_question_is_unknown(platform: Any) -> None:
    body = platform.answer(messages.CLOSE, '{"code":"10000"}')
    async with _answering(platform, 200, body) as connector:
        outcome = await connector.query(_sent(platform))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "ANSWER_MALFORMED")


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("ALIPAY_QR", OutcomeKind.PENDING),
        ("ALIPAY_PAGE", OutcomeKind.PENDING),
        ("ALIPAY_JSAPI", OutcomeKind.NOT_FOUND),
        ("ALIPAY_CODE", OutcomeKind.NOT_FOUND),
    ],
)
async def test_a_trade_that_only_the_payer_makes_may_not_be_there_yet(
    platform: Any, method: str, kind: OutcomeKind
) -> None:
    inner = '{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}'
    assert (await _query(platform, inner, method=method)).kind is kind


@pytest.mark.parametrize(
    ("inner", "day", "is_ready"),
    [
        ('{"code":"40004","sub_code":"BILL_NOT_EXIST"}', date(2026, 11, 10), True),
        ('{"code":"40004","sub_code":"BILL_NOT_EXIST"}', date(2026, 11, 11), False),
        ('{"code":"40004","sub_code":"INVAILID_ARGUMENTS"}', date(2026, 11, 10), False),
    ],
)
async def test_no_such_bill_means_nothing_or_not_yet(
    platform: Any, inner: str, day: date, is_ready: bool
) -> None:
    body = platform.answer("alipay.data.dataservice.bill.downloadurl.query", inner)
    async with _answering(platform, 200, body) as connector:
        if is_ready:
            assert (await connector.fetch_bill(day)).empty
            return
        with pytest.raises(BillNotReady):
            await connector.fetch_bill(day)


async def test_a_bill_is_not_fetched_from_elsewhere(platform: Any) -> None:
    inner = '{"code":"10000","bill_download_url":"http://169.254.169.254/latest/meta-data"}'
    body = platform.answer("alipay.data.dataservice.bill.downloadurl.query", inner)
    async with _answering(platform, 200, body) as connector:
        with pytest.raises(ChannelUnavailable, match="not at Alipay"):
            await connector.fetch_bill(date(2026, 11, 10))
