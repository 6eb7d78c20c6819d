"""The day's chart as SVG text: volume bars over a success-rate line, by hour.

Only classes, no styles: the page's security policy forbids inline ones, its stylesheet paints.
Geometry is whole pixels; amounts stay integers.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from libs import money
from services.cockpit.domain import wording
from services.cockpit.domain.figures import Tally

VOLUME_TICKS_MAX: Final = 3
LEFT: Final = 52
RIGHT: Final = 6
VOLUME_TOP: Final = 30
VOLUME_HEIGHT: Final = 150
RATE_TOP: Final = VOLUME_TOP + VOLUME_HEIGHT + 44
RATE_HEIGHT: Final = 56
HEIGHT: Final = RATE_TOP + RATE_HEIGHT + 24
BAR_GAP: Final = 4
HOUR_LABEL_WIDTH_MIN: Final = 40
_COMPACT: Final = ((10**9, "bn"), (10**6, "m"), (10**3, "k"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HourBar:
    """One hour's payments, volume in minor units of the chart's currency."""

    hour: int
    volume_minor: int
    succeeded: int
    ended: int


def bars(hours: Sequence[Tally], currency: str) -> list[HourBar]:
    """What the chart shows of a day's hours, in one currency."""
    return [
        HourBar(
            hour=hour,
            volume_minor=tally.volume[currency],
            succeeded=tally.succeeded,
            ended=tally.ended,
        )
        for hour, tally in enumerate(hours)
    ]


def draw(hours: Sequence[HourBar], currency: str, *, width: int) -> str:
    """A complete `<svg>` element, `width` pixels wide, safe to put into a page as it is."""
    label = (
        f"Volume in {currency} and success rate by hour; "
        f"{wording.count(sum(bar.succeeded for bar in hours))} payments succeeded"
    )
    head = (
        f'<svg viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">'
    )
    return "".join(
        (
            head,
            *_volume_axis(hours, currency, width),
            *_rate_axis(width),
            *_hour_labels(hours, width),
            *(_hour(bar, hours, currency, width) for bar in hours),
            *_rate_lines(hours, width),
            "</svg>",
        )
    )


def nice_step(maximum: int, ticks_max: int = VOLUME_TICKS_MAX) -> int:
    """The smallest 1, 2 or 5 times a power of ten that passes `maximum` in so many steps."""
    needed = max(1, -(-maximum // ticks_max))
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= needed:
                return factor * power
        power *= 10


def _volume_top(hours: Sequence[HourBar]) -> tuple[int, int]:
    """The tick distance and the top of the volume axis, in minor units."""
    maximum = max((bar.volume_minor for bar in hours), default=0)
    step = nice_step(maximum)
    return step, step * max(1, -(-maximum // step))


def _volume_axis(hours: Sequence[HourBar], currency: str, width: int) -> Iterator[str]:
    step, top = _volume_top(hours)
    yield _text(0, VOLUME_TOP - 16, f"Volume, {currency}", "caption")
    has_volume = any(bar.volume_minor for bar in hours)
    for tick in range(0, top + 1, step) if has_volume else (0,):
        y = VOLUME_TOP + VOLUME_HEIGHT - VOLUME_HEIGHT * tick // top
        yield _rule(y, width, "base" if tick == 0 else "grid")
        yield _text(LEFT - 8, y + 4, _compact(tick, currency), "tick end")


def _rate_axis(width: int) -> Iterator[str]:
    yield _text(0, RATE_TOP - 16, "Success rate", "caption")
    for percent in (0, 50, 100):
        y = _rate_y(percent, 100)
        yield _rule(y, width, "base" if percent == 0 else "grid")
        yield _text(LEFT - 8, y + 4, f"{percent} %", "tick end")


def _hour_labels(hours: Sequence[HourBar], width: int) -> Iterator[str]:
    every = 2 if width // 12 >= HOUR_LABEL_WIDTH_MIN else 6
    for bar in hours[::every]:
        middle = _left(bar.hour, hours, width) + _slot(hours, width) // 2
        yield _text(middle, HEIGHT - 6, f"{bar.hour:02}", "tick middle")


def _hour(bar: HourBar, hours: Sequence[HourBar], currency: str, width: int) -> str:
    """One hour: a bar, and over both panels a place to point at that tells the figures."""
    _, top = _volume_top(hours)
    slot, left = _slot(hours, width), _left(bar.hour, hours, width)
    height = VOLUME_HEIGHT * bar.volume_minor // top
    if bar.volume_minor:
        height = max(1, height)
    rate = wording.percent(wording.share(bar.succeeded, bar.ended))
    title = (
        f"{bar.hour:02}:00–{bar.hour:02}:59 · {wording.amount(bar.volume_minor, currency)} "
        f"{currency} · {rate} of {wording.count(bar.ended)} payments"
    )
    gap = BAR_GAP if slot > 4 * BAR_GAP else BAR_GAP // 2
    return (
        f'<g class="hour"><title>{escape(title)}</title>'
        f'<rect class="hit" x="{left}" y="{VOLUME_TOP}" width="{slot}" '
        f'height="{RATE_TOP + RATE_HEIGHT - VOLUME_TOP}"/>'
        f'<rect class="bar" x="{left + gap // 2}" y="{VOLUME_TOP + VOLUME_HEIGHT - height}" '
        f'width="{slot - gap}" height="{height}"/></g>'
    )


def _rate_lines(hours: Sequence[HourBar], width: int) -> Iterator[str]:
    """A line over each run of hours with payments; hours without one leave a gap."""
    half = _slot(hours, width) // 2
    for has_payments, run in itertools.groupby(hours, key=lambda bar: bar.ended > 0):
        if not has_payments:
            continue
        points = [
            (_left(bar.hour, hours, width) + half, _rate_y(bar.succeeded, bar.ended)) for bar in run
        ]
        path = " ".join(f"{x},{y}" for x, y in points)
        yield f'<polyline class="rate" points="{path}"/>'
        yield from (f'<circle class="dot" cx="{x}" cy="{y}" r="2.5"/>' for x, y in points)


def _slot(hours: Sequence[HourBar], width: int) -> int:
    return (width - LEFT - RIGHT) // max(1, len(hours))


def _left(hour: int, hours: Sequence[HourBar], width: int) -> int:
    return LEFT + hour * _slot(hours, width)


def _rate_y(part: int, whole: int) -> int:
    return RATE_TOP + RATE_HEIGHT - RATE_HEIGHT * part // whole


def _compact(amount_minor: int, currency: str) -> str:
    """A tick in major units: "0", "500", "20k", "1.5m" or, below one unit, with decimals."""
    digits = money.exponent(currency) if money.is_currency(currency) else 0
    major, rest = divmod(amount_minor, 10**digits)
    if rest:
        return wording.amount(amount_minor, currency)
    for unit, name in _COMPACT:
        if major >= unit and major * 10 % unit == 0:
            whole, tenth = divmod(major * 10 // unit, 10)
            return f"{whole}.{tenth}{name}" if tenth else f"{whole}{name}"
    return f"{major:,}"


def _rule(y: int, width: int, kind: str) -> str:
    return f'<line class="{kind}" x1="{LEFT}" x2="{width - RIGHT}" y1="{y}" y2="{y}"/>'


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
