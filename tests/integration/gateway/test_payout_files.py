"""Whole files of payouts through real services: checked row by row, paid once, resumed wherever they stop."""

import asyncio
import hashlib
from collections import Counter
from typing import Any

import grpc
import pytest

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import bulk_pb2
from libs.testing import eventually
from tests.integration.gateway import papers
from tests.integration.gateway.house import TIMEOUT_S, House, error_info, reason_of
from tests.integration.gateway.papers import ENDED, HEADER, F, R, declaration, line, paper

BANK = method_pb2.PAYMENT_METHOD_BANK_TRANSFER
PAYOUT = (method_pb2.OPERATION_PAYOUT,)
CHUNK = 64 << 10


@pytest.fixture
async def bank(house: House) -> str:
    """A channel that pays out."""
    return await house.new_channel(BANK, operations=PAYOUT)


async def available(house: House) -> int:
    balance = await house.balance(f"merchant/{house.merchant_id}/available/CNY")
    return balance.posted_minor - balance.held_minor


async def test_the_good_rows_of_a_file_are_paid_once_and_the_bad_ones_named(
    house: House, bank: str
) -> None:
    await house.fund(100_000)
    count = 300
    lines = [line(number) for number in range(1, count + 1)]
    lines[9] = line(10, account="6.22E+18")
    lines[19] = line(20, ref="r-19")
    lines[29] = 'r-30,1.00,"622200000030,payee,\n'
    data = (HEADER + "".join(lines)).encode()
    # A row that cannot be read has no amount that could be counted.
    file = await papers.send(house, data, count, 29_900, bad_rows=bulk_pb2.BAD_ROW_POLICY_PAY_GOOD)

    done = await papers.reached(house, file.payout_file_id, *ENDED)

    assert (done.state, done.reason, done.rows_count, done.bad_count) == (
        F.STATE_COMPLETED, "", count, 3,
    )  # fmt: skip
    assert (done.succeeded.count, done.succeeded.amount_minor) == (297, 29_700)
    assert (done.started.count, done.good_minor) == (297, 29_700)
    bad = await papers.rows_of(house, file.payout_file_id, only_bad=True)
    assert [(row.row_number, row.line_number, row.problems[0].column) for row in bad] == [
        (10, 11, "payee_account"),
        (20, 21, "ref"),
        (30, 31, ""),
    ]
    assert await available(house) == 100_000 - 29_700
    rows = await papers.rows_of(house, file.payout_file_id)
    assert [row.row_number for row in rows] == list(range(1, count + 1))
    assert Counter(row.state for row in rows) == {R.STATE_SUCCEEDED: 297, R.STATE_BAD: 3}
    assert len({row.payout_id for row in rows if row.payout_id}) == 297
    assert rows[0].payee_account_tail == "0001"


async def test_results_go_on_after_the_last_row_that_was_received(house: House, bank: str) -> None:
    await house.fund(10_000)
    file = await papers.send(house, paper(20), 20, 2_000)
    await papers.reached(house, file.payout_file_id, F.STATE_COMPLETED)

    rest = await papers.rows_of(house, file.payout_file_id, after=15)

    assert [row.row_number for row in rest] == [16, 17, 18, 19, 20]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows_count": 4}, "CONTROL_COUNT_MISMATCH"),
        ({"sum_minor": 301}, "CONTROL_SUM_MISMATCH"),
        ({"sha256": bytes(32)}, "CHECKSUM_MISMATCH"),
        ({"encoding": bulk_pb2.TEXT_ENCODING_GB18030}, ""),
    ],
)
async def test_a_file_that_is_not_what_was_declared_is_refused_whole(
    house: House, bank: str, change: dict[str, Any], reason: str
) -> None:
    await house.fund(1_000)
    fields = {"rows_count": 3, "sum_minor": 300, **change}
    data = paper(3)
    request = declaration(data, fields.pop("rows_count"), fields.pop("sum_minor"), **fields)
    made = await papers.declare(house, request)
    await papers.upload(house, made.payout_file_id, 0, data)

    done = await papers.reached(house, made.payout_file_id, *ENDED)

    assert (done.reason, done.started.count) == (reason, 0 if reason else 3)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"ref,amount\nr-1,1.00\n", "HEADER_INVALID", "payee_account"),
        (b"\xff\xfe\x00\n", "HEADER_INVALID", "UTF8"),
        (HEADER.encode() + b"r-1,1.00,1,,\n", "BAD_ROWS", "1 of 1"),
        (b"\n\n", "CONTROL_COUNT_MISMATCH", "0 found"),
    ],
)
async def test_a_file_that_cannot_be_used_says_why(
    house: House, data: bytes, reason: str, detail: str
) -> None:
    file = await papers.send(house, data, 1, 100)

    done = await papers.reached(house, file.payout_file_id, *ENDED)

    assert (done.state, done.reason) == (F.STATE_REFUSED, reason)
    assert detail in done.reason_detail


async def test_an_upload_that_broke_off_goes_on_where_it_stopped(house: House, bank: str) -> None:
    await house.fund(1_000_000)
    data = paper(3_000)
    assert len(data) > 2 * CHUNK
    request = declaration(data, 3_000, 300_000, needs_approval=True)
    file_id = (await papers.declare(house, request)).payout_file_id
    await papers.upload(house, file_id, 0, data[:CHUNK])

    again = await papers.declare(house, request)
    assert (again.payout_file_id, again.received_bytes) == (file_id, CHUNK)
    repeated = await papers.upload(house, file_id, 0, data[:CHUNK])
    assert repeated.received_bytes == CHUNK
    with pytest.raises(grpc.aio.AioRpcError) as differs:
        await papers.upload(house, file_id, 0, b"x" * CHUNK)
    assert (reason_of(differs.value), error_info(differs.value).metadata["field"]) == (
        "CHUNK_DIFFERS",
        "data",
    )
    with pytest.raises(grpc.aio.AioRpcError) as gap:
        await papers.upload(house, file_id, 2 * CHUNK, data[2 * CHUNK :])
    assert error_info(gap.value).metadata["received_bytes"] == str(CHUNK)
    with pytest.raises(grpc.aio.AioRpcError) as small:
        await papers.upload(house, file_id, CHUNK, data[CHUNK : CHUNK + 10])
    assert reason_of(small.value) == "CHUNK_TOO_SMALL"
    await papers.upload(house, file_id, CHUNK, data[CHUNK:])

    waiting = await papers.reached(house, file_id, F.STATE_WAITING)
    assert (waiting.rows_count, waiting.bad_count, waiting.started.count) == (3_000, 0, 0)


async def test_the_same_request_id_with_another_declaration_is_refused_and_the_field_named(
    house: House,
) -> None:
    data = paper(2)
    request = declaration(data, 2, 200)
    await papers.declare(house, request)
    for field, value in (
        ("sha256", hashlib.sha256(b"other").digest()),
        ("rows_count", 3),
        ("sum_minor", 300),
        ("bad_rows", bulk_pb2.BAD_ROW_POLICY_PAY_GOOD),
    ):
        other = bulk_pb2.CreatePayoutFileRequest()
        other.CopyFrom(request)
        setattr(other, field, value)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await papers.declare(house, other)
        assert reason_of(refused.value) == "REQUEST_ID_REUSED"
        assert error_info(refused.value).metadata["field"] == field


async def test_the_same_content_under_another_request_id_is_taken_for_a_mistake_unless_told(
    house: House, bank: str
) -> None:
    await house.fund(1_000)
    data = paper(2)
    first = await papers.send(house, data, 2, 200)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await papers.send(house, data, 2, 200)
    assert reason_of(refused.value) == "PAYOUT_FILE_REPEATED"
    assert error_info(refused.value).metadata["payout_file_id"] == first.payout_file_id

    meant = await papers.send(house, data, 2, 200, allows_repeat=True)

    for file in (first, meant):
        await papers.reached(house, file.payout_file_id, F.STATE_COMPLETED)
    assert await available(house) == 600


async def test_nothing_is_paid_before_another_key_has_approved(house: House, bank: str) -> None:
    await house.fund(1_000)
    file = await papers.send(house, paper(3), 3, 300, needs_approval=True)
    file_id = file.payout_file_id
    await papers.reached(house, file_id, F.STATE_WAITING)

    async def decide(key: Any) -> Any:
        return await house.files.DecidePayoutFile(
            bulk_pb2.DecidePayoutFileRequest(
                request_id="d-1", payout_file_id=file_id, is_approved=True
            ),
            timeout=TIMEOUT_S,
            metadata=key,
        )

    with pytest.raises(grpc.aio.AioRpcError) as own:
        await decide(house.key)
    assert reason_of(own.value) == "CHECKER_IS_MAKER"
    assert (await papers.get(house, file_id)).state == F.STATE_WAITING
    other = await house.new_key("checker")
    await decide(other)
    await decide(other)

    done = await papers.reached(house, file_id, F.STATE_COMPLETED)
    assert done.succeeded.count == 3


async def test_a_paused_file_starts_nothing_and_a_canceled_one_never_does(
    house: House, bank: str
) -> None:
    await house.fund(1_000_000)
    file = await papers.send(house, paper(2_000), 2_000, 200_000)
    file_id = file.payout_file_id
    about = {"request_id": "w-1", "payout_file_id": file_id}
    await papers.reached(house, file_id, F.STATE_PAYING)
    await house.files.PausePayoutFile(
        bulk_pb2.PausePayoutFileRequest(**about), timeout=TIMEOUT_S, metadata=house.key
    )
    await asyncio.sleep(2.5)
    paused = await papers.get(house, file_id)
    await asyncio.sleep(1.0)
    still = await papers.get(house, file_id)
    assert paused.state == still.state == F.STATE_PAUSED
    assert paused.started.count == still.started.count < 2_000

    await house.files.ResumePayoutFile(
        bulk_pb2.ResumePayoutFileRequest(**about), timeout=TIMEOUT_S, metadata=house.key
    )

    async def goes_on() -> bool:
        return (await papers.get(house, file_id)).started.count > still.started.count

    assert await eventually(goes_on, 20.0)
    await house.files.CancelPayoutFile(
        bulk_pb2.CancelPayoutFileRequest(**about), timeout=TIMEOUT_S, metadata=house.key
    )
    ended = await papers.reached(house, file_id, *ENDED)

    assert (ended.state, ended.reason) == (F.STATE_CANCELED, "CANCELED")
    assert 0 < ended.succeeded.count == ended.started.count < 2_000
    rows = Counter(row.state for row in await papers.rows_of(house, file_id))
    assert rows == {
        R.STATE_SUCCEEDED: ended.succeeded.count,
        R.STATE_READY: 2_000 - ended.succeeded.count,
    }


async def test_rows_without_money_fail_by_themselves(house: House, bank: str) -> None:
    await house.fund(250)
    file = await papers.send(house, paper(4), 4, 400)

    done = await papers.reached(house, file.payout_file_id, *ENDED)

    assert (done.succeeded.count, done.failed.count) == (2, 2)
    rows = await papers.rows_of(house, file.payout_file_id)
    assert {row.reason for row in rows if row.state == R.STATE_FAILED} == {"INSUFFICIENT_FUNDS"}


async def test_a_watch_tells_the_way_of_a_file_to_its_end(house: House, bank: str) -> None:
    await house.fund(100_000)
    file = await papers.send(house, paper(200), 200, 20_000)
    stream = house.files.WatchPayoutFile(
        bulk_pb2.WatchPayoutFileRequest(payout_file_id=file.payout_file_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )

    seen = [each.payout_file async for each in stream]

    assert [each.version for each in seen] == sorted({each.version for each in seen})
    assert (seen[-1].state, seen[-1].succeeded.count) == (F.STATE_COMPLETED, 200)


async def test_another_merchants_file_is_not_there(house: House) -> None:
    file = await papers.declare(house, declaration(b"x", 1, 1))
    await house.new_merchant()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await papers.get(house, file.payout_file_id)
    assert reason_of(refused.value) == "PAYOUT_FILE_NOT_FOUND"
