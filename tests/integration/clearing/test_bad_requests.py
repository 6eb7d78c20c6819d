"""Requests that cannot be meant are refused with the field at fault."""

import grpc
import pytest

from fisc.clearing.v1 import clearing_pb2 as pb
from libs.rpc.status import from_rpc_error
from tests.integration.clearing.facts import DAY
from tests.integration.clearing.support import House


@pytest.mark.parametrize(
    ("request_id", "day", "reason", "field"),
    [
        ("r", "2026-02-30", "INVALID_DATE", "business_date"),
        ("r", "yesterday", "INVALID_ARGUMENT", "business_date"),
        ("", DAY, "INVALID_ARGUMENT", "request_id"),
    ],
)
async def test_bad_requests_are_named(
    house: House, request_id: str, day: str, reason: str, field: str
) -> None:
    request = pb.CloseDayRequest(request_id=request_id, business_date=day)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in house.stub.CloseDay(request, timeout=5)]
    error = from_rpc_error(caught.value)
    assert (error.reason, error.field) == (reason, field)


async def test_bad_tokens_and_texts_are_refused(house: House) -> None:
    error = await house.refusal(house.stub.ListItems, pb.ListItemsRequest(page_token="%%"))
    assert error.reason == "INVALID_PAGE_TOKEN"
    error = await house.refusal(house.stub.ListItems, pb.ListItemsRequest(merchant_id="a\0"))
    assert error.reason == "INVALID_ARGUMENT"
    error = await house.refusal(house.stub.ListItems, pb.ListItemsRequest(business_date="x"))
    assert error.reason == "INVALID_DATE"
