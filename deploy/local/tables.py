"""Prints what a day came to."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from deploy.local.checks import Check
from deploy.local.close import Close
from deploy.local.evidence import Finding
from deploy.local.replay import NOT_SENT, Replay
from deploy.local.reviews import Review
from deploy.local.summary import ChannelLine, states
from fisc.clearing.v1 import clearing_pb2
from libs.money import Money

WIDTH_WITHOUT_TERMINAL = 150
FEE_SCALE = 10_000


def console() -> Console:
    """Standard output; wide enough for the tables when it is no terminal."""
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(highlight=False, markup=False, soft_wrap=True, width=width)


def show_replay(out: Console, replay: Replay, lines: Sequence[ChannelLine]) -> None:
    """What was sent and what became of it, by kind and by channel."""
    rate = len(replay.results) / max(replay.elapsed_s, 0.001)
    again = " (sent before: nothing changed)" if replay.was_replayed_before else ""
    out.print(
        f"\n{replay.file.name}: {len(replay.results)} rows in {replay.elapsed_s:.1f} s, "
        f"{rate:.0f} a second{again}"
    )
    for kind, counts in sorted(states(replay.outcomes).items()):
        figures = ", ".join(f"{state} {count}" for state, count in counts.most_common())
        out.print(f"  {kind}s: {figures}")
    left_out = sum(1 for each in replay.results if each.problem.startswith(NOT_SENT))
    if left_out:
        out.print(f"  refunds not sent, since their payment took no money: {left_out}")
    refused = [each for each in replay.results if each.problem and NOT_SENT not in each.problem]
    for result in refused:
        out.print(f"  line {result.row.line} {result.row.ref}: {result.problem}")
    table = _table("channel", *(f">{name}" for name in _CHANNEL_COLUMNS))
    for line in lines:
        table.add_row(
            line.channel_id, str(line.attempts), str(line.succeeded), line.success_percent,
            str(line.declined), str(line.failed_over), str(line.refunds),
            f"{line.latency_ms(50)} ms", f"{line.latency_ms(95)} ms",
            _amount(line.amount_minor, line.currency),
            _amount(line.expected_cost_minor, line.currency),
        )  # fmt: skip
    out.print(table)


_CHANNEL_COLUMNS = (
    "attempts", "succeeded", "success", "declined", "failed over", "refunds", "p50", "p95",
    "amount", "expected cost",
)  # fmt: skip


def show_reviews(out: Console, reviews: Sequence[Review]) -> None:
    """What risk stopped, and what the person said."""
    for review in reviews:
        word = "approved" if review.approved else "rejected"
        out.print(f"  review {review.case_id} of {review.amount}: {word} ({review.why})")


def show_findings(out: Console, findings: Sequence[Finding]) -> None:
    """The planted faults, each with what was done about it."""
    if findings:
        out.print("\nPlanted faults")
    for finding in findings:
        mark = "ok" if finding.is_handled else "NOT HANDLED"
        out.print(f"  {finding.fault}: {finding.happened}")
        out.print(f"    {mark}: {finding.handled}")
        for line in finding.history:
            out.print(f"      {line}")


def show_close(out: Console, close: Close) -> None:
    """The bills against our books, and what was settled."""
    report = close.report
    state = "closed" if report.closed else "still open"
    out.print(f"\nBusiness day {report.business_date}: {state}")
    columns = ("items", "bill lines", "matched", "differences", "net", "fee by the bill")
    table = _table("channel", "bill", *(f">{name}" for name in columns))
    for channel in report.channels:
        bill = " ".join(filter(None, (channel.statement_state, channel.statement_reason)))
        table.add_row(
            channel.channel_id, bill, str(channel.items_count), str(channel.lines_count),
            str(channel.matched_count), str(channel.differences_count),
            _amount(channel.net_minor, channel.currency), _fee(channel),
        )  # fmt: skip
    out.print(table)
    out.print(
        f"  payments {report.payments_count}, refunds {report.refunds_count}, "
        f"payouts {report.payouts_count} ({report.payout_returns_count} sent back), "
        f"late successes {report.late_successes_count}; matched {report.matched_count}, "
        f"differences {report.differences_count} ({report.differences_open_count} open); "
        f"batches {len(report.batches)}, vouchers {len(close.vouchers)}"
    )
    for batch in report.batches:
        word = clearing_pb2.Batch.State.Name(batch.state).removeprefix("STATE_").lower()
        out.print(
            f"  {batch.merchant_id}: {_amount(batch.gross_minor, batch.currency)} paid − "
            f"{_amount(batch.refunds_minor, batch.currency)} refunded − "
            f"{_amount(batch.fees_minor, batch.currency)} fees = "
            f"{_amount(batch.net_minor, batch.currency)} {batch.currency}, {word} for "
            f"{batch.settle_date}{f' ({batch.reason})' if batch.reason else ''}"
        )
    for difference in close.differences:
        out.print(f"  {difference.difference_id} at {difference.channel_id}: {difference.detail}")


def show_checks(out: Console, checks: Iterable[Check]) -> None:
    """What must hold, and whether it does."""
    out.print("\nChecks")
    for check in checks:
        out.print(f"  {'ok    ' if check.holds else 'FAILED'} {check.name}: {check.detail}")


def _table(*columns: str) -> Table:
    """A table without frames; a column that begins with > is set to the right."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        name = column.removeprefix(">")
        table.add_column(name, justify="right" if name != column else "left", no_wrap=True)
    return table


def _amount(amount_minor: int, currency: str) -> str:
    return Money(currency, amount_minor).format() if currency else str(amount_minor)


def _fee(channel: clearing_pb2.ChannelReport) -> str:
    whole, fraction = divmod(abs(channel.channel_fee_e4), FEE_SCALE)
    sign = "-" if channel.channel_fee_e4 < 0 else ""
    part = f"+{fraction}/{FEE_SCALE}" if fraction else ""
    return f"{sign}{_amount(whole, channel.currency)}{part}"
