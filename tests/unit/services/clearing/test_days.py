"""Business days turn at the channel's cut-off; money is due on China's working days."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from services.clearing.domain.days import WorkingDays, business_date

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("moment", "zone", "cut_off", "expected"),
    [
        (datetime(2026, 3, 2, 15, 59, 59, tzinfo=UTC), SHANGHAI, time(0), date(2026, 3, 2)),
        (datetime(2026, 3, 2, 16, 0, tzinfo=UTC), SHANGHAI, time(0), date(2026, 3, 3)),
        (datetime(2026, 3, 2, 14, 59, 59, tzinfo=UTC), SHANGHAI, time(23), date(2026, 3, 2)),
        (datetime(2026, 3, 2, 15, 0, tzinfo=UTC), SHANGHAI, time(23), date(2026, 3, 3)),
        (datetime(2026, 3, 2, 23, 30, tzinfo=UTC), ZoneInfo("UTC"), time(0), date(2026, 3, 2)),
        (datetime(2026, 3, 3, 1, 0, tzinfo=UTC), ZoneInfo("America/New_York"), time(0), date(2026, 3, 2)),
    ],
)  # fmt: skip
def test_the_day_turns_where_the_channel_says(
    moment: datetime, zone: ZoneInfo, cut_off: time, expected: date
) -> None:
    assert business_date(moment, zone, cut_off) == expected


@pytest.mark.parametrize(
    ("day", "delay_days", "due"),
    [
        (date(2026, 3, 2), 1, date(2026, 3, 3)),  # Monday
        (date(2026, 3, 6), 1, date(2026, 3, 9)),  # Friday
        (date(2026, 3, 7), 1, date(2026, 3, 9)),  # Saturday
        (date(2026, 3, 2), 0, date(2026, 3, 2)),
        (date(2026, 3, 7), 0, date(2026, 3, 9)),
        (date(2026, 3, 2), 5, date(2026, 3, 9)),
        (date(2026, 2, 13), 1, date(2026, 2, 24)),  # before the Spring Festival, off from 15 to 23
        (date(2026, 2, 13), 2, date(2026, 2, 25)),
        (date(2026, 9, 30), 1, date(2026, 10, 8)),  # National Day, off from 1 to 7 October
    ],
)
def test_money_is_due_after_so_many_working_days(day: date, delay_days: int, due: date) -> None:
    assert WorkingDays().settle_date(day, delay_days) == due


def test_make_up_weekends_count_only_where_the_bank_says_so() -> None:
    friday = date(2026, 2, 27)  # Saturday the 28th is worked for the Spring Festival
    assert WorkingDays().settle_date(friday, 1) == date(2026, 3, 2)
    assert WorkingDays(makeup_weekends=True).settle_date(friday, 1) == date(2026, 2, 28)
