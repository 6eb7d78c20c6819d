"""Closes a business day: bills fetched over the wire, matched, settled, booked."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from secrets import token_hex
from typing import Final
from zoneinfo import ZoneInfo

from deploy.local import catalog
from deploy.local.clients import STREAM_TIMEOUT_S, Platform
from deploy.local.errors import LocalError
from fisc.clearing.v1 import clearing_pb2

BILLS_READY_AT: Final = time(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """What closing a day came to."""

    report: clearing_pb2.DayReport
    differences: list[clearing_pb2.Difference]
    vouchers: list[clearing_pb2.Voucher]


async def close_day(platform: Platform, day: date, on_progress: Callable[[str], None]) -> Close:
    """Close the day, and read what came of it. Closing again picks up what was missing.

    A channel's bill of a day exists on the morning after, so that is the time the sandbox is set
    to. Raises grpc.aio.AioRpcError, FiscError, httpx.HTTPError, LocalError.
    """
    morning = datetime.combine(
        day + timedelta(days=1), BILLS_READY_AT, tzinfo=ZoneInfo(catalog.ZONE)
    )
    await platform.sandbox.set_clock(morning)
    on_progress(f"the sandbox's clock is set to {morning:%Y-%m-%d %H:%M}, when the bills are out")
    report = None
    request = clearing_pb2.CloseDayRequest(
        request_id=f"close:{day.isoformat()}:{token_hex(8)}", business_date=day.isoformat()
    )
    stream = platform.clearing.CloseDay(
        request, timeout=STREAM_TIMEOUT_S, metadata=platform.operator
    )
    async for response in stream:
        if response.progress:
            where = f"{response.channel_id}: " if response.channel_id else ""
            on_progress(f"{where}{response.progress}")
        if response.HasField("report"):
            report = response.report
    if report is None:
        raise LocalError(f"clearing ended the close of {day} without a report")
    return await read(platform, report)


async def read(platform: Platform, report: clearing_pb2.DayReport) -> Close:
    """What stands of a day besides its report. Raises FiscError."""
    day, clearing = report.business_date, platform.clearing
    differences = platform.pages(
        clearing.ListDifferences,
        clearing_pb2.ListDifferencesRequest(business_date=day),
        "differences",
    )
    vouchers = platform.pages(
        clearing.ListVouchers, clearing_pb2.ListVouchersRequest(voucher_date=day), "vouchers"
    )
    return Close(
        report=report,
        differences=[difference async for difference in differences],
        vouchers=[voucher async for voucher in vouchers],
    )
