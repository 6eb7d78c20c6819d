"""Messages ↔ domain types."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from google.protobuf import timestamp_pb2

from fisc.clearing.v1 import clearing_pb2 as pb
from fisc.common.v1 import money_pb2
from libs.rpc import convert
from services.clearing.domain import errors
from services.clearing.domain.model import (
    Batch,
    BatchState,
    DayReport,
    Difference,
    DifferenceState,
    FeePlan,
    Item,
    Statement,
)
from services.clearing.domain.sweeping import Sweep, SweepState
from services.clearing.domain.vouchers import Voucher
from services.clearing.usecases.closing import Progress
from services.clearing.usecases.events import Encoders
from services.clearing.usecases.sweeps import SweepOrder

BATCH_DECISIONS: Final = {
    pb.DecideBatchRequest.DECISION_RETRY: BatchState.POSTING,
    pb.DecideBatchRequest.DECISION_CANCEL: BatchState.CANCELED,
}
SWEEP_DECISIONS: Final = {
    pb.DecideSweepRequest.DECISION_MOVE: SweepState.MOVING,
    pb.DecideSweepRequest.DECISION_RELEASE: SweepState.VOIDING,
}
_SWEEP_STATES: Final[Mapping[int, SweepState]] = {
    pb.Sweep.State.Value(f"STATE_{state}"): state for state in SweepState
}
_STATES: Final = {
    pb.Difference.STATE_OPEN: DifferenceState.OPEN,
    pb.Difference.STATE_RESOLVED: DifferenceState.RESOLVED,
}


def day_from_text(text: str, *, field: str) -> date:
    """A day, YYYY-MM-DD. Raises InvalidDate."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise errors.InvalidDate(field=field) from error
    if day.isoformat() != text:
        raise errors.InvalidDate(field=field)
    return day


def optional_day(text: str, *, field: str) -> date | None:
    """A day, or None for an empty text. Raises InvalidDate."""
    return day_from_text(text, field=field) if text else None


def text(value: str, *, field: str) -> str:
    """A text that Postgres can hold. Raises InvalidText."""
    if "\0" in value:
        raise errors.InvalidText(field=field)
    return value


def state_from_proto(number: int) -> DifferenceState | None:
    """The state asked for; None for any."""
    return next((state for value, state in _STATES.items() if value == number), None)


def plan_from_proto(message: pb.FeePlan) -> FeePlan:
    """A plan as asked for. Raises InvalidDate, InvalidText."""
    return FeePlan(
        plan_id="",
        merchant_id=text(message.merchant_id, field="fee_plan.merchant_id"),
        rate_ppm=message.rate_ppm,
        fixed_minor=message.fixed_minor,
        payout_fixed_minor=message.payout_fixed_minor,
        fee_refundable=message.fee_refundable,
        effective_from=day_from_text(message.effective_from, field="fee_plan.effective_from"),
        settle_delay_days=message.settle_delay_days,
    )


def plan_to_proto(plan: FeePlan) -> pb.FeePlan:
    """Show a plan."""
    return pb.FeePlan(
        merchant_id=plan.merchant_id,
        rate_ppm=plan.rate_ppm,
        fixed_minor=plan.fixed_minor,
        payout_fixed_minor=plan.payout_fixed_minor,
        fee_refundable=plan.fee_refundable,
        effective_from=plan.effective_from.isoformat(),
        settle_delay_days=plan.settle_delay_days,
    )


def item_to_proto(item: Item) -> pb.Item:
    """Show an item."""
    return pb.Item(
        subject_id=item.subject_id,
        kind=pb.ItemKind.Value(f"ITEM_KIND_{item.kind}"),
        merchant_id=item.merchant_id,
        channel_id=item.channel_id,
        out_ref=item.out_ref,
        provider_ref=item.provider_ref,
        amount=_money(item.currency, item.amount_minor),
        merchant_fee_minor=item.merchant_fee_minor,
        business_date=item.business_date.isoformat(),
        match_state=pb.Item.MatchState.Value(f"MATCH_STATE_{item.match_state}"),
        batch_id=item.batch_id,
        occurred_at=convert.to_timestamp(item.occurred_at),
        payment_id=item.payment_id,
        settles=item.settles,
    )


def statement_to_proto(statement: Statement) -> pb.Statement:
    """Show a statement."""
    return pb.Statement(
        statement_id=statement.statement_id,
        channel_id=statement.channel_id,
        business_date=statement.business_date.isoformat(),
        sha256=statement.sha256,
        size_bytes=statement.size_bytes,
        state=statement.state,
        reason=statement.reason,
        lines_count=statement.lines_count,
        fetched_at=convert.to_timestamp(statement.fetched_at),
    )


def difference_to_proto(difference: Difference) -> pb.Difference:
    """Show a difference; a side that has nothing has no amount."""
    return pb.Difference(
        difference_id=difference.difference_id,
        kind=pb.DifferenceKind.Value(f"DIFFERENCE_KIND_{difference.kind}"),
        channel_id=difference.channel_id,
        business_date=difference.business_date.isoformat(),
        out_ref=difference.out_ref,
        subject_id=difference.subject_id,
        merchant_id=difference.merchant_id,
        our_amount=_optional_money(difference.our_currency, difference.our_amount_minor),
        channel_amount=_optional_money(
            difference.channel_currency, difference.channel_amount_minor
        ),
        state=pb.Difference.State.Value(f"STATE_{difference.state}"),
        note=difference.note,
        resolved_by=difference.resolved_by,
        detail=difference.detail,
        opened_at=convert.to_timestamp(difference.opened_at),
        resolved_at=_moment(difference.resolved_at),
        line_number=difference.line_number,
    )


def batch_to_proto(batch: Batch) -> pb.Batch:
    """Show a batch."""
    return pb.Batch(
        batch_id=batch.batch_id,
        merchant_id=batch.merchant_id,
        currency=batch.currency,
        business_date=batch.business_date.isoformat(),
        settle_date=batch.settle_date.isoformat(),
        items_count=batch.items_count,
        gross_minor=batch.gross_minor,
        refunds_minor=batch.refunds_minor,
        fees_minor=batch.fees_minor,
        net_minor=batch.net_minor,
        state=pb.Batch.State.Value(f"STATE_{batch.state}"),
        settled_at=_moment(batch.settled_at),
        reason=batch.reason,
        next_run_at=_moment(batch.next_run_at),
        decided_by=batch.decided_by,
        note=batch.note,
        version=batch.version,
    )


def sweep_order(message: pb.RunSweepRequest) -> SweepOrder:
    """A sweep as asked for. Raises InvalidText."""
    return SweepOrder(
        request_id=text(message.request_id, field="request_id"),
        source_account_id=text(message.source_account_id, field="source_account_id"),
        target_account_id=text(message.target_account_id, field="target_account_id"),
        currency=message.currency,
        keep_minor=message.keep_minor,
        minimum_minor=message.minimum_minor,
        memo=text(message.memo, field="memo"),
    )


def sweep_state(number: int) -> SweepState | None:
    """The state asked for; None for any."""
    return _SWEEP_STATES.get(number)


def sweep_to_proto(sweep: Sweep) -> pb.Sweep:
    """Show a sweep."""
    return pb.Sweep(
        sweep_id=sweep.sweep_id,
        request_id=sweep.request_id,
        source_account_id=sweep.source_account_id,
        target_account_id=sweep.target_account_id,
        currency=sweep.currency,
        keep_minor=sweep.keep_minor,
        minimum_minor=sweep.minimum_minor,
        memo=sweep.memo,
        amount_minor=sweep.amount_minor,
        state=pb.Sweep.State.Value(f"STATE_{sweep.state}"),
        reason=sweep.reason,
        created_at=convert.to_timestamp(sweep.created_at),
        updated_at=convert.to_timestamp(sweep.updated_at),
        next_run_at=_moment(sweep.next_run_at),
        hard_deadline_at=convert.to_timestamp(sweep.hard_deadline_at),
        version=sweep.version,
        decided_by=sweep.decided_by,
        note=sweep.note,
    )


def voucher_to_proto(voucher: Voucher) -> pb.Voucher:
    """Show a voucher."""
    return pb.Voucher(
        voucher_id=voucher.voucher_id,
        voucher_date=voucher.voucher_date.isoformat(),
        currency=voucher.currency,
        summary=voucher.summary,
        source=voucher.source,
        lines=[
            pb.VoucherLine(
                subject_code=line.subject_code,
                summary=line.summary,
                debit_minor=line.debit_minor,
                credit_minor=line.credit_minor,
            )
            for line in voucher.lines
        ],
    )


def report_to_proto(report: DayReport) -> pb.DayReport:
    """Show a report; its day is empty while there is no item at all."""
    is_real = report.business_date > date.min
    return pb.DayReport(
        business_date=report.business_date.isoformat() if is_real else "",
        channels=[
            pb.ChannelReport(
                channel_id=each.channel_id,
                currency=each.currency,
                items_count=each.items_count,
                lines_count=each.lines_count,
                matched_count=each.matched_count,
                differences_count=each.differences_count,
                net_minor=each.net_minor,
                channel_fee_e4=each.channel_fee_e4,
                statement_state=each.statement_state,
                statement_reason=each.statement_reason,
            )
            for each in report.channels
        ],
        payments_count=report.payments_count,
        refunds_count=report.refunds_count,
        payouts_count=report.payouts_count,
        matched_count=report.matched_count,
        differences_count=report.differences_count,
        differences_open_count=report.differences_open_count,
        batches=map(batch_to_proto, report.batches),
        vouchers_count=report.vouchers_count,
        closed=report.closed,
        payout_returns_count=report.payout_returns_count,
        late_successes_count=report.late_successes_count,
    )


def progress_to_proto(progress: Progress) -> pb.CloseDayResponse:
    """Show one step of closing a day."""
    return pb.CloseDayResponse(
        progress=progress.text,
        channel_id=progress.channel_id,
        report=report_to_proto(progress.report) if progress.report else None,
    )


ENCODERS: Final = Encoders(
    batch=lambda batch: batch_to_proto(batch).SerializeToString(),
    difference=lambda difference: difference_to_proto(difference).SerializeToString(),
    day=lambda report: report_to_proto(report).SerializeToString(),
    sweep=lambda sweep: sweep_to_proto(sweep).SerializeToString(),
)


def _moment(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    return None if moment is None else convert.to_timestamp(moment)


def _money(currency: str, amount_minor: int) -> money_pb2.Money:
    return money_pb2.Money(currency=currency, amount_minor=amount_minor)


def _optional_money(currency: str, amount_minor: int) -> money_pb2.Money | None:
    return _money(currency, amount_minor) if currency else None
