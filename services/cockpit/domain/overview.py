"""What the page says about a business day: first what needs action, then the figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from services.cockpit.domain import chart, wording
from services.cockpit.domain.actions import Action, PersonItem
from services.cockpit.domain.facts import Kind
from services.cockpit.domain.figures import ChannelFigures, DayFigures, Record
from services.cockpit.domain.readings import Channel, Ledger, Reading, Readings, Settlement

FAILOVER_NOTE: Final = "paid through another channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """Whether one source of the page answers: state "up", "wait" or "down"."""

    name: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure of the day."""

    key: str
    label: str
    term: str
    value: str
    unit: str = ""
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """One channel's day; `cost_text` and `rate_text` are empty when nothing succeeded there."""

    channel_id: str
    display_name: str
    status: str
    trouble: str
    attempts: int
    unknown: int
    success_rate: float | None
    latency_p50_ms: int | None
    cost_text: str
    expected_success_rate: float | None
    samples: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """One role's standing in one currency, on its normal side."""

    label: str
    term: str
    currency: str
    accounts: int
    debits_minor: int
    credits_minor: int
    position_minor: int
    side: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of the page."""

    day: date
    days: Sequence[date]
    is_latest: bool
    sources: Sequence[SourceStatus]
    actions: Sequence[Action]
    people: Sequence[PersonItem]
    tiles: Sequence[Tile]
    hours: Sequence[chart.HourBar]
    currency: str
    channels: Sequence[ChannelRow]
    positions: Sequence[PositionRow]
    readings: Readings
    settlement: Reading[Settlement]
    payments: Sequence[Record]


def tiles(
    figures: DayFigures, ledger: Reading[Ledger], settlement: Reading[Settlement]
) -> list[Tile]:
    """The figures of a day, the most asked for first."""
    payments = figures.kinds[Kind.PAYMENT]
    currency = figures.main_currency()
    others = {code: minor for code, minor in payments.volume.items() if code != currency and minor}
    open_count = payments.total - payments.ended
    saved = figures.failovers_succeeded
    return [
        Tile(
            key="volume",
            label="Volume",
            term="交易额",
            value=wording.amount(payments.volume[currency], currency),
            unit=currency,
            note=_amounts(others) or "paid by payers, before refunds",
        ),
        Tile(
            key="payments",
            label="Payments",
            term="支付",
            value=wording.count(payments.total),
            note=f"{wording.count(open_count)} on their way" if open_count else "all have ended",
        ),
        Tile(
            key="success",
            label="Success rate",
            term="成功率",
            value=wording.percent(wording.share(payments.succeeded, payments.ended)),
            note=f"{wording.count(payments.succeeded)} of {wording.count(payments.ended)} ended",
        ),
        Tile(
            key="failovers",
            label="Failovers",
            term="渠道切换",
            value=wording.count(figures.failovers),
            note=f"{wording.count(saved)} {FAILOVER_NOTE}",
        ),
        _money_tile(figures, Kind.REFUND, "Refunds", "退款", currency),
        _money_tile(figures, Kind.PAYOUT, "Payouts", "付款", currency),
        _ledger_tile(ledger),
        _matched_tile(settlement),
    ]


def channel_rows(
    figures: DayFigures, described: Sequence[Channel], troubles: dict[str, str]
) -> list[ChannelRow]:
    """Every channel the router knows or the day has seen, the busiest first."""
    by_id = {channel.channel_id: channel for channel in described}
    names = {*by_id, *figures.channels}
    rows = [
        _channel_row(
            name,
            by_id.get(name),
            figures.channels.get(name) or ChannelFigures(),
            troubles.get(name, ""),
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: (-row.attempts, row.channel_id))


def position_rows(ledger: Ledger | None) -> list[PositionRow]:
    """The trial balance by role: what we hold first, then whom we owe."""
    order = {role: rank for rank, role in enumerate(wording.ROLES)}
    lines = sorted(
        ledger.lines if ledger else (),
        key=lambda line: (order.get(line.role, len(order)), line.currency),
    )
    rows = []
    for line in lines:
        label, term = wording.words(wording.ROLES, line.role)
        debit_minor = line.debits_minor - line.credits_minor
        is_debit = line.role in wording.DEBIT_ROLES or (
            line.role not in wording.ROLES or line.role == "SUSPENSE"
        ) * (debit_minor > 0)
        rows.append(
            PositionRow(
                label=label,
                term=term,
                currency=line.currency,
                accounts=line.accounts,
                debits_minor=line.debits_minor,
                credits_minor=line.credits_minor,
                position_minor=debit_minor if is_debit else -debit_minor,
                side="Dr" if is_debit else "Cr",
            )
        )
    return rows


def _channel_row(
    channel_id: str, described: Channel | None, figures: ChannelFigures, trouble: str
) -> ChannelRow:
    return ChannelRow(
        channel_id=channel_id,
        display_name=described.display_name if described else channel_id,
        status=described.status if described else "",
        trouble=trouble,
        attempts=figures.attempts,
        unknown=figures.unknown,
        success_rate=wording.share(figures.succeeded, figures.answered),
        latency_p50_ms=figures.latency_p50_ms(),
        cost_text=_amounts(_costs(described, figures)) if described else "",
        expected_success_rate=described.expected_success_rate if described else None,
        samples=described.samples if described else None,
    )


def _costs(channel: Channel, figures: ChannelFigures) -> Counter[str]:
    costs: Counter[str] = Counter()
    for (currency, amount_minor), times in figures.amounts.items():
        costs[currency] += times * channel.fee_minor(amount_minor)
    return costs


def _money_tile(figures: DayFigures, kind: Kind, label: str, term: str, main_currency: str) -> Tile:
    tally = figures.kinds[kind]
    currency = max(tally.currencies, key=lambda code: tally.currencies[code], default=main_currency)
    others = {code: minor for code, minor in tally.volume.items() if code != currency and minor}
    note = f"{wording.count(tally.succeeded)} of {wording.count(tally.total)} succeeded"
    return Tile(
        key=f"{kind}s",
        label=label,
        term=term,
        value=wording.amount(tally.volume[currency], currency),
        unit=currency,
        note=" · ".join(part for part in (note, _amounts(others)) if part),
    )


def _ledger_tile(ledger: Reading[Ledger]) -> Tile:
    value, note, tone = wording.NONE, "account is down", "unknown"
    if ledger.value is not None:
        value = wording.count(ledger.value.imbalance_minor)
        tone = "bad" if ledger.value.imbalance_minor else "good"
        note = f"over {wording.count(ledger.value.transfers_count)} transfers"
        if ledger.error:
            note, tone = f"account is down; as of {wording.clock(ledger.read_at)}", "unknown"
    elif not ledger.error:
        note = "not read yet"
    return Tile(
        key="imbalance",
        label="Ledger imbalance",
        term="账本差额",
        value=value,
        note=note,
        tone=tone,
    )


def _matched_tile(settlement: Reading[Settlement]) -> Tile:
    value, note = wording.NONE, "clearing is down" if settlement.error else "not read yet"
    if settlement.value is not None:
        report = settlement.value
        value = wording.percent(wording.share(report.matched_count, report.items_count))
        note = (
            f"{wording.count(report.matched_count)} of {wording.count(report.items_count)}; "
            f"day {'closed' if report.is_closed else 'open'}"
        )
        if settlement.error:
            note = f"clearing is down; as of {wording.clock(settlement.read_at)}"
    return Tile(
        key="matched",
        label="Matched with bills",
        term="对账",
        value=value,
        note=note,
        tone="unknown" if settlement.error else "",
    )


def _amounts(volume: Counter[str] | dict[str, int]) -> str:
    return " · ".join(
        f"{wording.amount(minor, currency)} {currency}"
        for currency, minor in sorted(volume.items())
    )
