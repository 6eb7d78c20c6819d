"""Days: a channel's business day, and the working day on which money is due."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import holidays

_DAY = timedelta(days=1)
_MIDNIGHT = time(0, 0)
_SATURDAY = 5


def business_date(moment: datetime, zone: ZoneInfo, cut_off: time) -> date:
    """Return the channel's business day of a moment.

    A cut-off of 00:00 is the calendar day; with any other, what happens at or after it belongs to
    the next day (UnionPay turns at 23:00).
    """
    local = moment.astimezone(zone)
    is_late = cut_off != _MIDNIGHT and local.time() >= cut_off
    return local.date() + _DAY if is_late else local.date()


class WorkingDays:
    """Working days in mainland China, by the State Council's calendar as `holidays` knows it.

    Years whose notice is not out yet know the statutory holidays only. `makeup_weekends` counts
    weekend days that are worked to make up for a long holiday; banks mostly do not settle on them.
    """

    def __init__(self, *, makeup_weekends: bool = False) -> None:
        """Years are loaded as they are asked for."""
        self._calendar = holidays.country_holidays("CN")
        self._makeup_weekends = makeup_weekends

    def is_working_day(self, day: date) -> bool:
        """Whether money moves on that day."""
        if day.weekday() >= _SATURDAY:
            return self._makeup_weekends and self._calendar.is_working_day(day)
        return day not in self._calendar

    def settle_date(self, day: date, delay_days: int) -> date:
        """Return the day `delay_days` working days after `day`; with 0, `day` or the next working day."""
        due = day
        remaining = delay_days
        while remaining > 0 or not self.is_working_day(due):
            due += _DAY
            if remaining > 0 and self.is_working_day(due):
                remaining -= 1
        return due
