"""Words that come late: a success after the end, and what a bill says when the channel itself is silent."""

from datetime import UTC, datetime, timedelta

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House
from tests.integration.gateway.people import bill_line, cases, refunds, tell_bill

QR = method_pb2.PAYMENT_METHOD_ALIPAY_QR
P = payment_pb2.Payment
R = payment_pb2.Refund


async def cancel(house: House, payment_id: str) -> payment_pb2.Payment:
    await house.payments.CancelPayment(
        payment_pb2.CancelPaymentRequest(request_id="cancel", payment_id=payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return await house.ended(payment_id)


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
    line, stranger = bill_line(out_ref, 1999, paid_at=paid_at), bill_line("nobodys", 1)

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


async def test_an_order_that_breaks_over_its_line_is_counted_and_holds_up_no_other(
    house: House, gateway_database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    channel = await house.new_channel(method_pb2.PAYMENT_METHOD_CARD)
    broken, good, absent = [
        await unknown_to_the_end(house, channel, gateway_database) for _ in range(3)
    ]
    found = await gateway_database.fetch(
        "SELECT subject_id, out_ref FROM attempt WHERE channel_id = $1", channel
    )
    refs = {row["subject_id"]: row["out_ref"] for row in found}
    lines = [bill_line(refs[each], 1999) for each in (broken, good)]
    await tell_bill(house, channel, 1)
    await tell_bill(house, channel, 2)
    await gateway_database.execute(
        f"""
        CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a bug' USING ERRCODE = 'data_exception'; END $$;
        CREATE TRIGGER break_it BEFORE UPDATE OF state ON payment FOR EACH ROW
        WHEN (NEW.payment_id = '{broken}') EXECUTE FUNCTION break_it();
        """
    )
    try:
        told = await tell_bill(house, channel, 3, *lines)
    finally:
        await gateway_database.execute("DROP FUNCTION break_it CASCADE")

    assert (told.failed_count, told.settled_count, told.absent_count) == (1, 1, 0)
    assert (await house.get(good)).state == P.STATE_SUCCEEDED
    # Nothing ends by its absence from a bill that has not said all it has to say.
    assert (await house.get(absent)).state == P.STATE_MANUAL

    again = await tell_bill(house, channel, 3, *lines)

    assert (again.failed_count, again.settled_count, again.absent_count) == (0, 1, 1)
    states = [(await house.get(each)).state for each in (broken, good, absent)]
    assert states == [P.STATE_SUCCEEDED, P.STATE_SUCCEEDED, P.STATE_CANCELED]
