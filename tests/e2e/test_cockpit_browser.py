"""The cockpit in a real browser: Debian's Chromium, driven by Playwright.

The one test of the house that may be left out: where there is no Chromium and nobody called this a
build. `.ci/run` installs it.
"""

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.integration.cockpit import support, worlds
from tests.integration.cockpit.support import NOON, World, payment_event

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
HAS_CHROMIUM = Path(CHROMIUM).exists()
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(
    not HAS_CHROMIUM and os.environ.get("CI", "").lower() != "true",
    reason="no Chromium here; apt-get install chromium to run the cockpit in a browser",
)


@dataclass(slots=True)
class Watched:
    """A page, and everything that should not happen on it."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    documents: int = 0

    def watch(self) -> None:
        ours = urlsplit(self.url).netloc
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request",
            lambda request: (
                self.complaints.append(f"foreign request: {request.url}")
                if urlsplit(request.url).netloc != ours
                else None
            ),
        )
        self.page.on("load", lambda _: self._loaded())

    def _loaded(self) -> None:
        self.documents += 1


@pytest.fixture
def world() -> World:
    return worlds.busy_day()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if not HAS_CHROMIUM:
        pytest.fail(f"CI=true, but there is no Chromium at {CHROMIUM}: .ci/run must install it")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        await running.close()


@pytest.fixture
async def watched(world: World, browser: Browser) -> AsyncIterator[Watched]:
    """The busy day's page, opened and live."""
    async with support.serving(world) as url:
        context = await browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]  # a TypedDict by shape
        watching = Watched(page=await context.new_page(), url=url)
        watching.watch()
        await watching.page.goto(url)
        await expect(watching.page.locator("#connection")).to_have_text("Live")
        yield watching
        await context.close()


async def test_the_page_is_live_clean_and_fits_a_phone(world: World, watched: Watched) -> None:
    page = watched.page
    tiles = page.locator("[data-tile]")
    await expect(tiles).to_have_count(8)
    await expect(page.locator("[data-tile=payments] [data-value]")).to_have_text("601")
    await expect(page.locator("[data-tile=imbalance] [data-value]")).to_have_text("0")
    await expect(page.locator("[data-action=differences] [data-value]")).to_have_text("2")
    await expect(page.locator(".chart.wide rect.bar")).to_have_count(24)

    world.emit(
        payment_event("pay_01live", amount_minor=1_000_000, at=NOON + timedelta(minutes=1)),
    )

    await expect(page.locator("[data-tile=payments] [data-value]")).to_have_text("602")
    await expect(page.locator("[data-tile=volume] [data-value]")).to_have_text("186,466.90")
    await expect(page.locator("[data-payment=pay_01live]")).to_be_visible()
    assert watched.documents == 1

    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # a TypedDict by shape
    await expect(page.locator(".chart.narrow svg")).to_be_visible()
    await expect(page.locator(".chart.wide svg")).to_be_hidden()
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width == PHONE["width"]
    assert watched.complaints == []


async def test_opened_details_survive_an_update(world: World, watched: Watched) -> None:
    page = watched.page
    await page.locator("#accounts summary").click()
    await expect(page.locator("#accounts table")).to_be_visible()

    world.answers["GetTrialBalance"].transfers_count += 1
    world.answers["GetTrialBalance"].lines[0].accounts += 1

    await expect(page.locator("[data-tile=imbalance] .note")).to_contain_text("1,483")
    await expect(page.locator("#ledger tbody tr").first).to_contain_text("4")
    await expect(page.locator("#accounts table")).to_be_visible()
    assert watched.complaints == []


async def test_a_service_going_down_shows_without_reload(world: World, watched: Watched) -> None:
    await world.stop("notification")

    webhooks = watched.page.locator("[data-action=webhooks]")
    await expect(webhooks).to_contain_text("notification is down")
    await expect(watched.page.locator(".source[data-state=down]")).to_have_count(1)
    assert watched.documents == 1
    assert watched.complaints == []


async def test_choosing_another_day_shows_it(world: World, watched: Watched) -> None:
    world.emit(payment_event("pay_01old", at=NOON - timedelta(days=1), amount_minor=7_700))
    page = watched.page
    await page.goto(f"{watched.url}/?day=2026-11-19")
    await expect(page.locator("[data-tile=volume] [data-value]")).to_have_text("77.00")

    await page.locator("#day").select_option("2026-11-20")

    await expect(page.locator("[data-tile=payments] [data-value]")).to_have_text("601")
    assert page.url.endswith("?day=2026-11-20")
    assert watched.complaints == []
