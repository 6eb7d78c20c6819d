"""Words that come late: a success after the end, and what a bill says when the channel itself is silent."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.local.postgres import USER
from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import operations_pb2, payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House

QR = method_pb2.PAYMENT_METHOD_ALIPAY_QR
P = payment_pb2.Payment
R = payment_pb2.Refund
ZONE = ZoneInfo("Asia/Shanghai")


async def cancel(house: House, payment_id: str) -> payment_pb2.Payment:
    await house.payments.CancelPayment(
        payment_pb2.CancelPaymentRequest(request_id="cancel", payment_id=payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return await house.ended(payment_id)


async def refunds(house: House, payment_id: str) -> list[payment_pb2.Refund]:
    answer = await house.payments.ListRefunds(
        payment_pb2.ListRefundsRequest(payment_id=payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return list(answer.refunds)


async def cases(house: House, subject_id: str) -> list[operations_pb2.Case]:
    answer = await house.operations.ListCases(
        operations_pb2.ListCasesRequest(page_size=1000), timeout=TIMEOUT_S, metadata=house.operator
    )
    return [case for case in answer.cases if case.subject_id == subject_id]


async def test_what_a_channel_takes_after_the_end_is_given_back_by_itself(house: House) -> None:
    channel = await house.new_channel(QR, auto_pay_after_ms=None)
    payment = await house.pay(channel, method=QR)
    [row] = await house.book(channel)
    assert (await cancel(house, payment.payment_id)).state == P.STATE_CANCELED

    late = await house.sandbox.post(
        "/control/pay", json={"account_id": channel, "out_ref": row["out_ref"], "late": True}
    )
    late.raise_for_status()

    async def given_back() -> payment_pb2.Refund | None:
        found = await refunds(house, payment.payment_id)
        return found[0] if found and found[0].state == R.STATE_SUCCEEDED else None

    refund = await eventually(given_back, 20.0)
    assert refund is not None
    assert (refund.origin, refund.amount.amount_minor) == (R.ORIGIN_LATE_SUCCESS, 1999)
    assert (await house.get(payment.payment_id)).state == P.STATE_CANCELED
    assert len(await refunds(house, payment.payment_id)) == 1
    [case] = await cases(house, refund.refund_id)
    assert (case.reason, case.resolution) == ("LATE_SUCCESS", "REFUNDED")

    async def nothing_is_left() -> bool:
        owed = await house.balance(f"channel/{channel}/receivable/CNY")
        return (owed.posted_minor, owed.sequence) == (0, 2)

    await eventually(nothing_is_left)
    assert (await house.balance(f"merchant/{house.merchant_id}/pending/CNY")).posted_minor == 0


@pytest.fixture
async def gateway_database(house: House) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    password = (house.settings.data_dir / "postgres.password").read_text().strip()
    connection = await asyncpg.connect(
        f"postgresql://{USER}:{password}@127.0.0.1:{house.settings.postgres_port}/fisc_gateway"
    )
    yield connection
    await connection.close()


async def unknown_to_the_end(
    house: House, channel: str, database: "asyncpg.Connection[asyncpg.Record]"
) -> str:
    """A payment that nobody could tell the end of for days: it stands before a person."""
    await house.fault(channel, "down")
    payment = await house.pay(channel)
    assert payment.state == P.STATE_PROCESSING
    long_ago = datetime.now(UTC) - timedelta(days=3)
    await database.execute(
        "UPDATE attempt SET sent_at = $2 WHERE subject_id = $1", payment.payment_id, long_ago
    )
    await database.execute(
        "UPDATE payment SET created_at = $2, expires_at = $2, hard_deadline_at = $2, next_run_at = now(),"
        " version = version + 1 WHERE payment_id = $1",
        payment.payment_id,
        long_ago,
    )
    stuck = await house.ended(payment.payment_id)
    assert (stuck.state, stuck.reason) == (P.STATE_MANUAL, "OUTCOME_UNKNOWN")
    return payment.payment_id


async def tell_bill(
    house: House, channel: str, days_ago: int, *lines: operations_pb2.BillLine
) -> operations_pb2.SettleByBillResponse:
    day = (datetime.now(ZONE) - timedelta(days=days_ago)).date()
    return await house.operations.SettleByBill(
        operations_pb2.SettleByBillRequest(
            channel_id=channel,
            business_date=day.isoformat(),
            lines=lines,
            is_complete=True,
        ),
        timeout=TIMEOUT_S,
        metadata=house.operator,
    )


async def test_a_line_of_the_bill_ends_what_stood_before_a_person(
    house: House, gateway_database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    channel = await house.new_channel(method_pb2.PAYMENT_METHOD_CARD)
    payment_id = await unknown_to_the_end(house, channel, gateway_database)
    out_ref = await gateway_database.fetchval(
        "SELECT out_ref FROM attempt WHERE subject_id = $1", payment_id
    )
    paid_at = Timestamp()
    paid_at.FromDatetime(datetime.now(UTC) - timedelta(days=3))
    line = operations_pb2.BillLine(
        out_ref=out_ref,
        amount=money_pb2.Money(currency="CNY", amount_minor=1999),
        provider_ref="p1",
        paid_at=paid_at,
    )
    stranger = operations_pb2.BillLine(
        out_ref="nobodys", amount=money_pb2.Money(currency="CNY", amount_minor=1)
    )

    told = await tell_bill(house, channel, 3, line, stranger)
    again = await tell_bill(house, channel, 3, line, stranger)

    assert (told.settled_count, told.unknown_count) == (1, 1)
    assert again.settled_count == 0
    ended = await house.ended(payment_id)
    assert (ended.state, ended.captured_minor) == (P.STATE_SUCCEEDED, 1999)
    [case] = await cases(house, payment_id)
    assert (case.reason, case.resolution) == ("OUTCOME_UNKNOWN", "SUCCEEDED")

    async def is_booked() -> bool:
        pending = await house.balance(f"merchant/{house.merchant_id}/pending/CNY")
        return pending.posted_minor == 1999

    await eventually(is_booked)


async def test_what_three_bills_do_not_name_was_never_taken(
    house: House, gateway_database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    channel = await house.new_channel(method_pb2.PAYMENT_METHOD_CARD)
    payment_id = await unknown_to_the_end(house, channel, gateway_database)

    first, second = await tell_bill(house, channel, 3), await tell_bill(house, channel, 1)
    between = await house.get(payment_id)
    third = await tell_bill(house, channel, 2)

    assert [told.absent_count for told in (first, second, third)] == [0, 0, 1]
    assert between.state == P.STATE_MANUAL
    ended = await house.ended(payment_id)
    assert (ended.state, ended.reason) == (P.STATE_CANCELED, "EXPIRED")
    [case] = await cases(house, payment_id)
    assert case.resolution == "CANCELED"
