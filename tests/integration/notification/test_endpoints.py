"""Endpoints are registered, changed and listed; their secrets are shown once and kept sealed."""

import base64

import pytest

from fisc.notification.v1 import notification_pb2 as pb
from services.notification.domain.endpoint import UrlPolicy
from tests.integration.notification.support import Fixture, Receiver

URL = "https://merchant.example/hooks"


async def test_a_secret_has_32_random_bytes_and_is_shown_once(notification: Fixture) -> None:
    made = await notification.create(URL, "payment.*", request_id="req_a")
    again = await notification.create(URL, "payment.*", request_id="req_a")
    assert len(base64.b64decode(made.secret.removeprefix("whsec_"), validate=True)) == 32
    assert made.endpoint.state == pb.Endpoint.STATE_ENABLED
    assert (again.endpoint, again.secret) == (made.endpoint, "")
    assert (await notification.create(URL)).secret != made.secret


async def test_the_database_holds_no_secret_in_clear(notification: Fixture) -> None:
    made = await notification.create(URL)
    (sealed,) = await notification.pool.fetch("SELECT sealed FROM endpoint_secret")
    assert made.secret.encode() not in sealed["sealed"]
    assert base64.b64decode(made.secret.removeprefix("whsec_")) not in sealed["sealed"]


async def test_a_request_id_cannot_be_used_for_something_else(notification: Fixture) -> None:
    made = (await notification.create(URL, request_id="req_a")).endpoint
    other = (await notification.create(URL)).endpoint
    await notification.rotate(made.endpoint_id, "req_a")  # another RPC has ids of its own
    for call in (
        notification.create(URL, "payout.*", request_id="req_a"),
        notification.rotate(other.endpoint_id, "req_a"),
    ):
        assert await notification.refusal(call) == "REQUEST_ID_REUSED"


async def test_an_update_replaces_url_subscription_and_state(notification: Fixture) -> None:
    made = (await notification.create(URL, "payment.*")).endpoint
    changed = pb.Endpoint(
        endpoint_id=made.endpoint_id,
        merchant_id="mer_1",
        url=URL + "/2",
        event_types=["refund.*"],
        state=pb.Endpoint.STATE_DISABLED,
    )
    updated = await notification.update(changed, "req_u")
    assert (updated.url, list(updated.event_types)) == (URL + "/2", ["refund.*"])
    assert updated.state == pb.Endpoint.STATE_DISABLED
    assert await notification.endpoint(made.endpoint_id) == updated

    changed.state = pb.Endpoint.STATE_UNSPECIFIED
    assert (await notification.update(changed)).state == pb.Endpoint.STATE_DISABLED
    changed.state = pb.Endpoint.STATE_ENABLED
    enabled = await notification.update(changed)
    # A late repetition of the first update answers, and disables nothing.
    changed.state = pb.Endpoint.STATE_DISABLED
    assert await notification.update(changed, "req_u") == enabled


async def test_an_endpoint_of_another_merchant_is_not_found(notification: Fixture) -> None:
    made = (await notification.create(URL)).endpoint
    made.merchant_id = "mer_2"
    assert await notification.refusal(notification.update(made)) == "ENDPOINT_NOT_FOUND"
    assert await notification.refusal(notification.rotate("ep_none")) == "ENDPOINT_NOT_FOUND"


@pytest.mark.parametrize("policy", [UrlPolicy()])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://merchant.example/", "HTTPS_REQUIRED"),
        ("ftp://merchant.example/", "ENDPOINT_URL_INVALID"),
        ("https://10.0.0.1/", "ADDRESS_NOT_PUBLIC"),
        ("merchant", "INVALID_ARGUMENT"),
    ],
)
async def test_a_url_that_must_not_be_called_is_refused(
    notification: Fixture, url: str, reason: str
) -> None:
    made = (await notification.create(URL)).endpoint
    assert await notification.refusal(notification.create(url)) == reason
    made.url = url
    assert await notification.refusal(notification.update(made)) == reason


async def test_bad_input_is_refused_with_a_reason(notification: Fixture) -> None:
    made = (await notification.create(URL)).endpoint
    stub = notification.stub
    made.state = 7  # type: ignore[assignment]  # what a client of a newer contract may send
    refusals = [
        notification.create(URL, "payment.born"),
        notification.create(URL, merchant_id=""),
        notification.update(made),
        notification.call(stub.ListEndpoints, pb.ListEndpointsRequest(page_token="x")),
        notification.call(stub.ListDeliveries, pb.ListDeliveriesRequest(page_token="!")),
        notification.call(stub.ListDeliveries, pb.ListDeliveriesRequest(page_size=-1)),
        notification.get("msg_none"),
        notification.redeliver("msg_none"),
    ]
    assert [await notification.refusal(each) for each in refusals] == [
        "EVENT_TYPE_UNKNOWN",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "INVALID_PAGE_TOKEN",
        "INVALID_PAGE_TOKEN",
        "INVALID_ARGUMENT",
        "DELIVERY_NOT_FOUND",
        "DELIVERY_NOT_FOUND",
    ]


async def test_pages_of_endpoints_visit_each_of_the_merchant_once(notification: Fixture) -> None:
    made = [(await notification.create(URL)).endpoint.endpoint_id for _ in range(5)]
    await notification.create(URL, merchant_id="mer_2")
    request = pb.ListEndpointsRequest(merchant_id="mer_1", page_size=2)
    sizes, seen = [], []
    while True:
        page = await notification.call(notification.stub.ListEndpoints, request)
        sizes.append(len(page.endpoints))
        seen += [each.endpoint_id for each in page.endpoints]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert (sizes, seen) == ([2, 2, 1], made)


async def test_only_so_many_secrets_sign_at_once(notification: Fixture, receiver: Receiver) -> None:
    made = (await notification.create(receiver.url)).endpoint
    for _ in range(3):
        await notification.rotate(made.endpoint_id)
    refused = notification.rotate(made.endpoint_id)
    assert await notification.refusal(refused) == "TOO_MANY_SECRETS"
    notification.clock.advance(24 * 3_600)
    assert await notification.rotate(made.endpoint_id)
