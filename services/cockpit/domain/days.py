"""Business days: calendar days of Asia/Shanghai, whatever zone the server stands in."""

from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

ZONE: Final = ZoneInfo("Asia/Shanghai")
HOURS_PER_DAY: Final = 24


def local(moment: datetime) -> datetime:
    """The same moment as clocks in Shanghai show it."""
    return moment.astimezone(ZONE)


def business_day(moment: datetime) -> date:
    """The business day (营业日) a moment falls on."""
    return local(moment).date()


def parse(text: str) -> date:
    """Read "2026-11-11". Raises ValueError for anything else, other ISO forms included."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError(f"{text!r} is not a day written YYYY-MM-DD")
    return day
