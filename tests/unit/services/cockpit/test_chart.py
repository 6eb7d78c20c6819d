"""The hourly chart as SVG."""

import re
from xml.etree import ElementTree as ET

import pytest

from services.cockpit.domain import chart
from services.cockpit.domain.chart import HourBar

SVG = "{http://www.w3.org/2000/svg}"


def hours(volumes: dict[int, int], ended: int = 10, succeeded: int = 9) -> list[HourBar]:
    return [
        HourBar(
            hour=hour,
            volume_minor=volumes.get(hour, 0),
            succeeded=succeeded if hour in volumes else 0,
            ended=ended if hour in volumes else 0,
        )
        for hour in range(24)
    ]


def drawn(bars: list[HourBar], currency: str = "CNY", width: int = 960) -> ET.Element:
    return ET.fromstring(chart.draw(bars, currency, width=width))


def heights(svg: ET.Element) -> list[int]:
    return [int(rect.get("height", "")) for rect in svg.iter("rect") if rect.get("class") == "bar"]


def test_bars_are_as_high_as_their_share_of_the_axis() -> None:
    bars = heights(drawn(hours({9: 100_000, 10: 200_000})))

    assert bars[10] == 2 * bars[9] > 0
    assert bars[11] == 0


def test_the_smallest_volume_still_shows() -> None:
    assert heights(drawn(hours({0: 1, 12: 10**12})))[0] == 1


def test_hours_without_payments_leave_a_gap_in_the_rate_line() -> None:
    lines = list(drawn(hours({1: 5, 2: 5, 8: 5})).iter("polyline"))

    assert [len(line.get("points", "").split()) for line in lines] == [2, 1]


def test_an_hour_tells_its_figures_when_pointed_at() -> None:
    titles = [title.text for title in drawn(hours({14: 1_234_500})).iter("title")]

    assert titles[14] == "14:00–14:59 · 12,345.00 CNY · 90.0 % of 10 payments"


def test_a_day_without_payments_is_an_empty_chart() -> None:
    svg = drawn(hours({}))

    assert set(heights(svg)) == {0}
    assert not list(svg.iter("polyline"))


def test_axis_labels_are_major_units_of_the_currency() -> None:
    def ticks(currency: str) -> set[str | None]:
        return {text.text for text in drawn(hours({3: 6_000_000}), currency).iter("text")}

    assert {"20k", "40k", "60k"} <= ticks("CNY")
    assert {"2m", "4m", "6m"} <= ticks("JPY")


def test_text_is_escaped_and_nothing_is_styled_inline() -> None:
    text = chart.draw(hours({1: 1}), "<b>", width=340)

    assert "<b>" not in text
    assert not re.search(r"\bstyle=|<style|<script", text)


@pytest.mark.parametrize(
    ("maximum", "step"), [(0, 1), (3, 1), (4, 2), (100, 50), (301, 200), (1_500_001, 1_000_000)]
)
def test_ticks_are_one_two_or_five_times_a_power_of_ten(maximum: int, step: int) -> None:
    assert chart.nice_step(maximum) == step
