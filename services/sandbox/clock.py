"""Two clocks: the real one (signatures, deadlines) and the business clock (what bills say)."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")


def real_now() -> datetime:
    """The machine's time, aware, in UTC."""
    return datetime.now(UTC)


def now_ms() -> int:
    """The machine's time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class BusinessClock:
    """The time the outside world believes; it runs at the pace of the real one."""

    def __init__(self, offset_ms: int = 0, on_change: Callable[[int], None] | None = None) -> None:
        self._offset = timedelta(milliseconds=offset_ms)
        self._on_change = on_change

    def now(self) -> datetime:
        """Business time in Asia/Shanghai, whole seconds, as channels write it."""
        return (real_now() + self._offset).astimezone(SHANGHAI).replace(microsecond=0)

    def today(self) -> date:
        """The business day that is running now."""
        return self.now().date()

    def set(self, moment: datetime | None) -> None:
        """Make `moment` (aware) the business time from now on; None returns to real time."""
        self._offset = timedelta() if moment is None else moment - real_now()
        if self._on_change is not None:
            self._on_change(round(self._offset.total_seconds() * 1000))

    def remaining_s(self, deadline: datetime) -> float:
        """Seconds until `deadline`, which may be told in business or in real time; ≤ 0 if past.

        A caller that replays another day gives deadlines by its own clock or by the business
        clock, and the sandbox cannot know which. The smallest positive remainder is the one meant.
        """
        by_real = (deadline - real_now()).total_seconds()
        by_business = (deadline - real_now() - self._offset).total_seconds()
        positive = [remaining for remaining in (by_real, by_business) if remaining > 0]
        return min(positive, default=0.0)


def parse_day(text: str) -> date:
    """`2026-11-11`; raises ValueError for anything else, also for other ISO forms."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError(text)
    return day


def rfc3339(moment: datetime) -> str:
    """`2026-11-11T12:00:00+08:00`."""
    return moment.astimezone(SHANGHAI).isoformat(timespec="seconds")
