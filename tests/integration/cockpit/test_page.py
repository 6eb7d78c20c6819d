"""The cockpit over fake services: what it shows, live, and when somebody is down."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from fisc.gateway.v1 import operations_pb2, payment_pb2
from fisc.router.v1 import router_pb2
from libs.rpc import convert
from tests.integration.cockpit import support, worlds
from tests.integration.cockpit.support import NOON, World, payment_event

PATIENCE_S = 10.0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def browser(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client at the cockpit over `world`."""
    async with (
        support.serving(world) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        yield client


async def page_with(browser: httpx.AsyncClient, *texts: str, path: str = "/") -> str:
    """The page once it holds all these texts; fails when it does not come to that."""
    page = ""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not all(text in page for text in texts):
                await asyncio.sleep(0.02)
                page = (await browser.get(path)).text
    except TimeoutError:
        pytest.fail(f"never saw {[text for text in texts if text not in page]} in:\n{page}")
    return page


async def test_health_answers_before_any_service_does(
    world: World, browser: httpx.AsyncClient
) -> None:
    for service in support.SERVICES:
        await world.stop(service)

    assert (await browser.get("/healthz")).status_code == 200
    assert (await browser.get("/")).status_code == 200


async def test_a_busy_day_shows_every_part_of_the_page() -> None:
    async with (
        support.serving(worlds.busy_day()) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as browser,
    ):
        page = await page_with(
            browser,
            "Business day 2026-11-20",
            "176,466.90",
            "206,703.50",
            "70,776.78",
            "AMOUNT_MISMATCH",
            "is above the limit of 50,000.00",
            "simpay-cheap",
            "未平差异",
        )

    assert "do not know &lt;of&gt;" in page
    assert "<of>" not in page


async def test_text_of_merchants_is_escaped_everywhere(
    world: World, browser: httpx.AsyncClient
) -> None:
    world.emit(
        payment_event(
            "pay_1", state="MANUAL", merchant_id="<script>1", order_ref="<img>", reason="<b>"
        )
    )

    page = await page_with(browser, "&lt;script&gt;1", "&lt;img&gt;", "&lt;b&gt;")

    assert not any(text in page for text in ("<script>1", "<img>", "<b>"))


async def test_a_service_that_is_down_is_named_and_its_last_figures_stay(
    world: World, browser: httpx.AsyncClient
) -> None:
    world.answers["ListChannels"] = router_pb2.ListChannelsResponse(
        channels=[router_pb2.Channel(channel_id="wechat-main", display_name="WeChat Pay")]
    )
    world.emit(payment_event("pay_1", amount_minor=12_345))
    await page_with(browser, "WeChat Pay", "123.45")

    await world.stop("router")
    page = await page_with(browser, "router is down", "as of")

    assert "WeChat Pay" in page
    assert "123.45" in page
    assert "account is down" not in page


async def test_the_feed_going_down_leaves_the_page_standing(
    world: World, browser: httpx.AsyncClient
) -> None:
    world.emit(payment_event("pay_1", amount_minor=12_345))
    await page_with(browser, "123.45")

    await world.stop("gateway")
    page = await page_with(browser, "gateway feed is down", "gateway is down")

    assert "123.45" in page


async def test_a_chosen_day_is_shown_and_a_wrong_one_refused(
    world: World, browser: httpx.AsyncClient
) -> None:
    world.emit(payment_event("pay_1"))
    await page_with(browser, "pay_1")

    assert "No payment on this day" in (await browser.get("/?day=2026-11-19")).text
    for wrong in ("yesterday", "20261120", "2026-02-30"):
        assert (await browser.get("/", params={"day": wrong})).status_code == 400
        assert (await browser.get("/live", params={"day": wrong})).status_code == 400


async def test_the_stream_sends_everything_once_and_then_only_what_changed(
    world: World, browser: httpx.AsyncClient
) -> None:
    world.emit(payment_event("pay_1", amount_minor=10_000))
    await page_with(browser, "100.00")

    async with browser.stream("GET", "/live") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        fragments = _fragments(response)
        first = [await anext(fragments) for _ in range(10)]
        world.emit(payment_event("pay_2", amount_minor=5_000))
        changed: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_S):
            while "payments" not in changed:
                name, html = await anext(fragments)
                changed[name] = html

    assert len({name for name, _ in first}) == 10
    assert "150.00" in changed["tiles"]
    assert "ledger" not in changed


async def _fragments(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            fragment = json.loads(line.removeprefix("data: "))
            yield fragment["id"], fragment["html"]


async def test_a_payments_evidence_is_shown_in_words(
    world: World, browser: httpx.AsyncClient
) -> None:
    world.answers["GetEvidence"] = {
        "pay_1": operations_pb2.GetEvidenceResponse(
            payment=payment_pb2.Payment(
                payment_id="pay_1",
                amount=support.money(12_345),
                state=payment_pb2.Payment.STATE_SUCCEEDED,
            ),
            attempts=[support.attempt("pay_1", 1, "wechat-main", "UNKNOWN", code="SYSTEMERROR")],
            history=[
                operations_pb2.HistoryLine(
                    at=convert.to_timestamp(NOON), text="wechat-main did not answer <in time>."
                )
            ],
        )
    }

    page = (await browser.get("/payments/pay_1")).text

    assert all(text in page for text in ("123.45", "SYSTEMERROR", "2026-11-20 12:00:00"))
    assert "did not answer &lt;in time&gt;" in page


@pytest.mark.parametrize(
    ("prepare", "path", "status"),
    [
        (None, "/payments/pay_unknown", 404),
        (None, "/payments/%3Cscript%3E", 404),
        ("gateway", "/payments/pay_1", 503),
    ],
)
async def test_evidence_that_cannot_be_had_is_a_page_too(
    world: World, browser: httpx.AsyncClient, prepare: str | None, path: str, status: int
) -> None:
    if prepare is not None:
        await world.stop(prepare)

    response = await browser.get(path)

    assert response.status_code == status
    assert "Back to the cockpit" in response.text
    assert "<script>" not in response.text


async def test_every_answer_forbids_foreign_content(browser: httpx.AsyncClient) -> None:
    for path in ("/", "/payments/pay_1", "/static/cockpit.js", "/nowhere"):
        policy = (await browser.get(path)).headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
    page = (await browser.get("/")).text
    assert "style=" not in page
    assert "onclick=" not in page


async def test_no_method_but_get_is_answered(browser: httpx.AsyncClient) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await browser.request(method, "/")).status_code == 405
