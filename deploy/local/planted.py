"""Faults planted in the outside world while a day is replayed, and what is known of them after.

Each is ordered at the sandbox when the file's time reaches its hour. The sandbox logs every one
that strikes; what the platform did about it is asked of the platform itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Final

from deploy.local import catalog
from deploy.local.clients import Platform
from deploy.local.dayfile import DayFile
from deploy.local.outcomes import Outcomes, has_succeeded

TIMEOUT: Final = "timeout_after_charge"
DUPLICATE: Final = "duplicate_callback"
DOWN: Final = "down"
WRONG_AMOUNT: Final = "bill_wrong_amount"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """A fault and the hour it begins; `until` only for one that is lifted again."""

    fault: str
    channel_id: str
    at: time
    until: time | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def account_id(self) -> str:
        """The channel as the sandbox knows it."""
        return account_of(self.channel_id)

    def strikes_any(self, file: DayFile) -> bool:
        """Whether the file has a payment late enough for this channel to be met by it."""
        method = next(
            plan.method for plan in catalog.CHANNELS if plan.channel_id == self.channel_id
        )
        return any(
            row.method == method
            and row.channel_hint in ("", self.channel_id)
            and self.at <= row.time.time() < (self.until or time.max)
            for row in file.rows
        )


PLAN: Final = (
    PlannedFault(
        fault=TIMEOUT, channel_id="card-a", at=time(9), more={"operation": "charge", "count": 1}
    ),
    PlannedFault(
        fault=DUPLICATE,
        channel_id="wechat-main",
        at=time(10),
        more={"operation": "payment", "count": 1},
    ),
    PlannedFault(fault=DOWN, channel_id="alipay-a", at=time(12), until=time(14)),
)
BILL_CHANNEL: Final = "wechat-main"


def account_of(channel_id: str) -> str:
    """Our number at the provider of a channel."""
    return next(plan.account_id for plan in catalog.CHANNELS if plan.channel_id == channel_id)


class Planter:
    """Orders the planned faults as the file's time passes, and lifts them."""

    def __init__(self, platform: Platform, file: DayFile) -> None:
        self._platform = platform
        self.planned = [fault for fault in PLAN if fault.strikes_any(file)]
        self._agenda = sorted(self._moments(file), key=lambda moment: moment[0])

    async def advance(self, now: datetime) -> list[str]:
        """Do what is due at this time of the file; says what was done."""
        done: list[str] = []
        while self._agenda and self._agenda[0][0] <= now:
            _, fault, is_begin = self._agenda.pop(0)
            sandbox = self._platform.sandbox
            if is_begin:
                await sandbox.add_fault(fault.account_id, fault.fault, **fault.more)
            else:
                await sandbox.clear_faults(fault.account_id)
            what = "planted at" if is_begin else "lifted from"
            done.append(f"{fault.fault} {what} {fault.channel_id}")
        return done

    async def finish(self) -> None:
        """Lift whatever still stands, so that nothing strikes later and unannounced."""
        self._agenda.clear()
        standing = (await self._platform.sandbox.faults())["standing"]
        ours = {fault.account_id for fault in self.planned}
        for account_id in sorted(ours & {fault["account_id"] for fault in standing}):
            await self._platform.sandbox.clear_faults(account_id)

    async def plant_wrong_bill(self, outcomes: Outcomes) -> str:
        """Order a wrong amount for a paid charge on the bill of the day; its reference, or ""."""
        refs = sorted(
            attempt.out_ref
            for attempt in outcomes.attempts.values()
            if attempt.channel_id == BILL_CHANNEL
            and attempt.state == "SUCCEEDED"
            and attempt.subject_id.startswith("pay_")
            and has_succeeded(outcomes.subjects[attempt.subject_id])
        )
        if not refs:
            return ""
        out_ref = refs[len(refs) // 2]
        await self._platform.sandbox.add_fault(
            account_of(BILL_CHANNEL), WRONG_AMOUNT, out_ref=out_ref, count=1
        )
        return out_ref

    def _moments(self, file: DayFile) -> Iterator[tuple[datetime, PlannedFault, bool]]:
        first = file.rows[0].time
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        for fault in self.planned:
            yield midnight + _since_midnight(fault.at), fault, True
            if fault.until is not None:
                yield midnight + _since_midnight(fault.until), fault, False


async def wrong_bill_ref(platform: Platform, outcomes: Outcomes) -> str:
    """The reference for which an earlier replay ordered a wrong amount on the bill; "" for none."""
    refs = {attempt.out_ref for attempt in outcomes.attempts.values()}
    faults = await platform.sandbox.faults()
    return next(
        (
            str(fault["out_ref"])
            for fault in [*faults["fired"], *faults["standing"]]
            if fault["fault"] == WRONG_AMOUNT and fault["out_ref"] in refs
        ),
        "",
    )


def _since_midnight(moment: time) -> timedelta:
    return timedelta(hours=moment.hour, minutes=moment.minute)
