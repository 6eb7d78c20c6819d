"""Who wants which event, and which URLs may be registered."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from libs.errors import FiscError
from services.notification.domain import endpoint as endpoints
from services.notification.domain import errors
from services.notification.domain.endpoint import Endpoint, EndpointState, UrlPolicy

ENDPOINT = Endpoint(
    endpoint_id="ep_1",
    merchant_id="mer_1",
    url="https://merchant.example/hooks",
    event_types=(),
    state=EndpointState.ENABLED,
    created_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("subscription", "event_type", "wanted"),
    [
        ([], "payment.succeeded", True),
        (["payment.succeeded"], "payment.succeeded", True),
        (["payment.succeeded"], "payment.failed", False),
        (["payment.*"], "payment.failed", True),
        (["payment.*"], "payout.failed", False),
        (["refund.*", "batch.settled"], "batch.settled", True),
    ],
)
def test_an_endpoint_hears_what_it_subscribed_to(
    subscription: list[str], event_type: str, wanted: bool
) -> None:
    subscribed = replace(ENDPOINT, event_types=endpoints.check_event_types(subscription))
    assert subscribed.wants(event_type) is wanted


def test_a_disabled_endpoint_hears_nothing() -> None:
    assert not replace(ENDPOINT, state=EndpointState.DISABLED).wants("payment.succeeded")


@pytest.mark.parametrize(
    "unknown", ["", "*", ".*", "pay.*", "payment", "payment.*.*", "payment.born"]
)
def test_a_subscription_to_what_never_happens_is_refused(unknown: str) -> None:
    with pytest.raises(errors.EventTypeUnknown):
        endpoints.check_event_types(["payment.*", unknown])


def test_a_repeated_event_type_counts_once() -> None:
    assert endpoints.check_event_types(["payout.*", "batch.settled", "payout.*"]) == (
        "payout.*",
        "batch.settled",
    )


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("http://merchant.example/", errors.HttpsRequired),
        ("ftp://merchant.example/", errors.EndpointUrlInvalid),
        ("//merchant.example/", errors.EndpointUrlInvalid),
        ("https:///hooks", errors.EndpointUrlInvalid),
        ("https://user:word@merchant.example/", errors.EndpointUrlInvalid),
        ("https://merchant.example/#top", errors.EndpointUrlInvalid),
        ("https://merchant.example:99999/", errors.EndpointUrlInvalid),
        ("https://merchant.example/a\nb", errors.EndpointUrlInvalid),
        ("https://[::1/", errors.EndpointUrlInvalid),
        ("https://127.0.0.1/", errors.AddressNotPublic),
        ("https://[fd00::1]/", errors.AddressNotPublic),
        ("https://169.254.169.254/latest", errors.AddressNotPublic),
    ],
)
def test_a_url_that_we_must_not_call_is_refused(url: str, refusal: type[FiscError]) -> None:
    with pytest.raises(refusal):
        UrlPolicy().check(url)


def test_a_public_https_url_is_fine_and_the_local_suite_may_allow_more() -> None:
    UrlPolicy().check("https://merchant.example:8443/hooks?team=pay")
    UrlPolicy().check("https://8.8.8.8/")
    UrlPolicy(allow_http=True, allow_private=True).check("http://127.0.0.1:9000/hooks")
