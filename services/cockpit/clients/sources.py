"""The polled reads: one method a question, each within its own deadline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import grpc

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.clearing.v1 import clearing_pb2, clearing_pb2_grpc
from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc
from fisc.notification.v1 import notification_pb2, notification_pb2_grpc
from fisc.risk.v1 import risk_pb2, risk_pb2_grpc
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs.rpc import client, convert
from services.cockpit.clients import wire
from services.cockpit.domain.evidence import Evidence, HistoryLine
from services.cockpit.domain.readings import (
    AccountLine,
    Backlog,
    BacklogLine,
    Batch,
    Channel,
    ChannelDay,
    DeadDelivery,
    Difference,
    Ledger,
    LedgerLine,
    Listed,
    RiskCase,
    Settlement,
)

TIMEOUT_S: Final = 2.0
PAGE_SIZE: Final = 200
SECONDS_PER_MINUTE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """An open gRPC channel to each service; closed by who opened them."""

    gateway: grpc.aio.Channel
    router: grpc.aio.Channel
    risk: grpc.aio.Channel
    account: grpc.aio.Channel
    clearing: grpc.aio.Channel
    notification: grpc.aio.Channel


class GrpcSources:
    """All reads over gRPC; raises what `libs.rpc.client.call` raises."""

    def __init__(self, channels: Channels, operator_metadata: Sequence[tuple[str, str]]) -> None:
        """`operator_metadata` goes with the gateway's OperationsService alone."""
        self._operations = operations_pb2_grpc.OperationsServiceStub(channels.gateway)
        self._router = router_pb2_grpc.RouterServiceStub(channels.router)
        self._risk = risk_pb2_grpc.RiskServiceStub(channels.risk)
        self._account = account_pb2_grpc.AccountServiceStub(channels.account)
        self._clearing = clearing_pb2_grpc.ClearingServiceStub(channels.clearing)
        self._notification = notification_pb2_grpc.NotificationServiceStub(channels.notification)
        self._operator_metadata = tuple(operator_metadata)

    async def channels(self) -> tuple[Channel, ...]:
        """Every channel with what the router expects of it."""
        listed = await client.call(
            self._router.ListChannels,
            router_pb2.ListChannelsRequest(page_size=PAGE_SIZE),
            timeout_s=TIMEOUT_S,
        )
        answer = await client.call(
            self._router.GetChannelStats, router_pb2.GetChannelStatsRequest(), timeout_s=TIMEOUT_S
        )
        return tuple(_channel(channel, answer.stats) for channel in listed.channels)

    async def ledger(self) -> Ledger:
        """The trial balance and the first accounts by id."""
        trial = await client.call(
            self._account.GetTrialBalance,
            account_pb2.GetTrialBalanceRequest(),
            timeout_s=TIMEOUT_S,
        )
        listed = await client.call(
            self._account.ListAccounts,
            account_pb2.ListAccountsRequest(page_size=PAGE_SIZE),
            timeout_s=TIMEOUT_S,
        )
        return Ledger(
            lines=tuple(
                LedgerLine(
                    role=_role(line.role),
                    currency=line.currency,
                    accounts=line.accounts,
                    debits_minor=line.debits_minor,
                    credits_minor=line.credits_minor,
                )
                for line in trial.lines
            ),
            imbalance_minor=trial.imbalance_minor,
            transfers_count=trial.transfers_count,
            accounts=tuple(
                AccountLine(
                    account_id=account.account_id,
                    role=_role(account.role),
                    currency=account.currency,
                    posted_minor=balance.posted_minor,
                    held_minor=balance.held_minor,
                )
                for account, balance in zip(listed.accounts, listed.balances, strict=True)
            ),
            has_more_accounts=bool(listed.next_page_token),
        )

    async def differences(self) -> Listed[Difference]:
        """Open differences of every day."""
        answer = await client.call(
            self._clearing.ListDifferences,
            clearing_pb2.ListDifferencesRequest(
                state=clearing_pb2.Difference.STATE_OPEN, page_size=PAGE_SIZE
            ),
            timeout_s=TIMEOUT_S,
        )
        return Listed(
            items=tuple(_difference(difference) for difference in answer.differences),
            has_more=bool(answer.next_page_token),
        )

    async def backlog(self) -> Backlog:
        """What has not ended at the gateway."""
        answer = await client.call(
            self._operations.GetBacklog,
            operations_pb2.GetBacklogRequest(),
            timeout_s=TIMEOUT_S,
            metadata=self._operator_metadata,
        )
        return Backlog(
            lines=tuple(
                BacklogLine(
                    flow=line.flow,
                    state=line.state,
                    count=line.count,
                    oldest_age_min=line.oldest_age_s // SECONDS_PER_MINUTE,
                )
                for line in answer.lines
            ),
            events_unpushed=answer.events_unpushed,
        )

    async def cases(self) -> Listed[RiskCase]:
        """Open risk cases, oldest first."""
        answer = await client.call(
            self._risk.ListCases,
            risk_pb2.ListCasesRequest(state=risk_pb2.Case.STATE_OPEN, page_size=PAGE_SIZE),
            timeout_s=TIMEOUT_S,
        )
        return Listed(
            items=tuple(_case(case) for case in answer.cases),
            has_more=bool(answer.next_page_token),
        )

    async def dead_deliveries(self) -> Listed[DeadDelivery]:
        """Webhooks given up, newest first."""
        answer = await client.call(
            self._notification.ListDeliveries,
            notification_pb2.ListDeliveriesRequest(
                state=notification_pb2.Delivery.STATE_DEAD, page_size=PAGE_SIZE
            ),
            timeout_s=TIMEOUT_S,
        )
        return Listed(
            items=tuple(
                DeadDelivery(
                    delivery_id=delivery.delivery_id,
                    merchant_id=delivery.merchant_id,
                    event_type=delivery.event_type,
                    subject_id=delivery.subject_id,
                    attempts_count=delivery.attempts_count,
                    created_at=convert.from_timestamp(delivery.created_at),
                )
                for delivery in answer.deliveries
            ),
            has_more=bool(answer.next_page_token),
        )

    async def settlement(self, day: date) -> Settlement:
        """Clearing's report of a day and its settlement batches."""
        answer = await client.call(
            self._clearing.GetDayReport,
            clearing_pb2.GetDayReportRequest(business_date=day.isoformat()),
            timeout_s=TIMEOUT_S,
        )
        listed = await client.call(
            self._clearing.ListBatches,
            clearing_pb2.ListBatchesRequest(business_date=day.isoformat(), page_size=PAGE_SIZE),
            timeout_s=TIMEOUT_S,
        )
        report = answer.report
        return Settlement(
            day=day,
            is_closed=report.closed,
            items_count=report.payments_count + report.refunds_count + report.payouts_count,
            matched_count=report.matched_count,
            vouchers_count=report.vouchers_count,
            channels=tuple(_channel_day(channel) for channel in report.channels),
            batches=tuple(_batch(batch) for batch in listed.batches),
        )

    async def evidence(self, subject_id: str) -> Evidence:
        """Everything the gateway knows of one payment, refund or payout."""
        answer = await client.call(
            self._operations.GetEvidence,
            operations_pb2.GetEvidenceRequest(subject_id=subject_id),
            timeout_s=TIMEOUT_S,
            metadata=self._operator_metadata,
        )
        history = tuple(
            HistoryLine(at=convert.from_timestamp(line.at), text=line.text)
            for line in answer.history
        )
        match answer.WhichOneof("subject"):
            case "refund":
                refund = wire.refund_fact(answer.refund, answer.attempts)
                return Evidence(subject=refund, history=history, description=answer.refund.note)
            case "payout":
                payout = wire.payout_fact(answer.payout, answer.attempts)
                text = answer.payout.description
                return Evidence(subject=payout, history=history, description=text)
            case _:
                return Evidence(
                    subject=wire.payment_fact(answer.payment, answer.attempts),
                    history=history,
                    description=answer.payment.description,
                    refunded_minor=answer.payment.refunded_minor,
                )


def _channel(channel: router_pb2.Channel, stats: Iterable[router_pb2.ChannelStats]) -> Channel:
    """A channel's expectation is the mean over its methods, weighted by their samples."""
    own = [line for line in stats if line.channel_id == channel.channel_id]
    samples = sum(line.samples for line in own)
    weights = [line.samples if samples else 1 for line in own]
    expected = sum(line.success_rate * weight for line, weight in zip(own, weights, strict=True))
    return Channel(
        channel_id=channel.channel_id,
        display_name=channel.display_name,
        status=router_pb2.ChannelStatus.Name(channel.status).removeprefix("CHANNEL_STATUS_"),
        rate_ppm=channel.fee.rate_ppm,
        fixed_minor=channel.fee.fixed_minor,
        minimum_minor=channel.fee.minimum_minor,
        maximum_minor=channel.fee.maximum_minor,
        samples=samples,
        expected_success_rate=expected / sum(weights) if own else None,
    )


def _difference(difference: clearing_pb2.Difference) -> Difference:
    return Difference(
        difference_id=difference.difference_id,
        kind=clearing_pb2.DifferenceKind.Name(difference.kind).removeprefix("DIFFERENCE_KIND_"),
        channel_id=difference.channel_id,
        business_date=difference.business_date,
        subject_id=difference.subject_id,
        out_ref=difference.out_ref,
        our_amount=(
            wire.amount_of(difference.our_amount) if difference.HasField("our_amount") else None
        ),
        channel_amount=(
            wire.amount_of(difference.channel_amount)
            if difference.HasField("channel_amount")
            else None
        ),
        detail=difference.detail,
    )


def _batch(batch: clearing_pb2.Batch) -> Batch:
    return Batch(
        batch_id=batch.batch_id,
        merchant_id=batch.merchant_id,
        currency=batch.currency,
        settle_date=batch.settle_date,
        items_count=batch.items_count,
        gross_minor=batch.gross_minor,
        refunds_minor=batch.refunds_minor,
        fees_minor=batch.fees_minor,
        net_minor=batch.net_minor,
        state=clearing_pb2.Batch.State.Name(batch.state).removeprefix("STATE_"),
    )


def _channel_day(report: clearing_pb2.ChannelReport) -> ChannelDay:
    return ChannelDay(
        channel_id=report.channel_id,
        currency=report.currency,
        items_count=report.items_count,
        lines_count=report.lines_count,
        matched_count=report.matched_count,
        differences_count=report.differences_count,
        statement_state=report.statement_state,
        statement_reason=report.statement_reason,
    )


def _case(case: risk_pb2.Case) -> RiskCase:
    evaluation = case.evaluation
    operation = method_pb2.Operation.Name(evaluation.operation).removeprefix("OPERATION_")
    return RiskCase(
        case_id=case.case_id,
        operation=operation,
        subject_id=evaluation.subject_id,
        merchant_id=evaluation.merchant_id,
        amount=wire.amount_of(evaluation.amount),
        why="; ".join(rule.detail or rule.rule_id for rule in case.fired_rules),
        opened_at=convert.from_timestamp(case.opened_at),
    )


def _role(role: account_pb2.AccountRole.ValueType) -> str:
    return account_pb2.AccountRole.Name(role).removeprefix("ACCOUNT_ROLE_")
