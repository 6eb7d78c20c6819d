"""Bills that come late, or cannot be believed, wait for the next close and spoil nothing."""

import pytest

from fisc.clearing.v1 import clearing_pb2 as pb
from tests.integration.clearing.days import (
    assert_batches_are_the_sum_of_their_items,
    assert_vouchers_balance,
    good_day,
)
from tests.integration.clearing.facts import DAY
from tests.integration.clearing.support import House


async def test_a_bill_that_is_not_ready_is_picked_up_next_time(house: House) -> None:
    await good_day(house)
    kept = house.operations.bills.pop(f"sim-b/{DAY}")

    report = await house.close()

    assert not report.closed
    states = {each.channel_id: each.statement_state for each in report.channels}
    assert states == {"sim-a": "FETCHED", "sim-b": "NOT_READY"}
    assert not report.differences_count
    assert sum(batch.gross_minor for batch in report.batches) == 15_000

    house.operations.bills[f"sim-b/{DAY}"] = kept
    report = await house.close()

    assert report.closed
    assert sum(batch.gross_minor for batch in report.batches) == 35_000
    assert (await house.events())[-1] == ("day.closed", DAY)
    await assert_batches_are_the_sum_of_their_items(house)
    await assert_vouchers_balance(house)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda good: good[: len(good) * 3 // 5], "BILL_TRUNCATED"),
        (lambda good: good.replace(b"p-o", "渠".encode("gbk")), "BILL_ENCODING_INVALID"),
        (lambda good: good.replace(b"#total,3,19000", b"#total,3,19001"), "BILL_TOTALS_MISMATCH"),
        (lambda good: good.replace(b",kind,", b",sort,"), "BILL_HEADER_INVALID"),
        (lambda good: good.replace(b",4000,CNY", b",40.00,CNY"), "BILL_ROW_INVALID line 4"),
    ],
)
async def test_a_bill_that_cannot_be_believed_is_kept_and_not_used(
    house: House, spoil: object, reason: str
) -> None:
    await good_day(house)
    _, good = house.operations.bills[f"sim-a/{DAY}"]
    house.bill("sim-a", spoil(good))  # type: ignore[operator]  # a lambda above

    report = await house.close()

    (channel,) = [each for each in report.channels if each.channel_id == "sim-a"]
    assert channel.statement_state == "REJECTED"
    assert channel.statement_reason.startswith(reason)
    assert (channel.lines_count, channel.channel_fee_e4) == (0, 0)
    assert not report.closed
    assert not await house.differences()
    items = await house.items()
    assert items["pay_1"].match_state == pb.Item.MATCH_STATE_UNMATCHED
    house.bill("sim-a", good)
    assert (await house.close()).closed
    answer = await house.call(house.stub.ListStatements, pb.ListStatementsRequest())
    mine = [each for each in answer.statements if each.channel_id == "sim-a"]
    assert [each.state for each in mine] == ["REJECTED", "FETCHED"]
    assert mine[1].size_bytes == len(good)
