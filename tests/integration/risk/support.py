"""What the tests of risk share: short words for frequent calls and messages."""

import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from fisc.common.v1 import events_pb2, events_pb2_grpc, method_pb2, money_pb2
from fisc.risk.v1 import risk_pb2 as pb
from fisc.risk.v1 import risk_pb2_grpc
from libs.clock import FrozenClock
from services.risk.__main__ import Risk
from tests.integration.calls import TIMEOUT_S, Caller

NOON = datetime(2025, 3, 4, 4, tzinfo=UTC)  # in Shanghai

ALLOW, REVIEW, DENY = pb.VERDICT_ALLOW, pb.VERDICT_REVIEW, pb.VERDICT_DENY


def evaluation(evaluation_id: str, amount_minor: int = 1_000, **changes: Any) -> pb.Evaluation:
    """A WeChat payment of customer c-1 at merchant m-1, in CNY."""
    message = pb.Evaluation(
        evaluation_id=evaluation_id,
        merchant_id="m-1",
        operation=method_pb2.OPERATION_PAYMENT,
        amount=money_pb2.Money(currency="CNY", amount_minor=amount_minor),
        method=method_pb2.PAYMENT_METHOD_WECHAT_QR,
        customer_id="c-1",
        ip="203.0.113.9",
    )
    message.MergeFrom(pb.Evaluation(**changes))
    return message


def rule(rule_id: str, verdict: pb.Verdict.ValueType = DENY, **check: Any) -> pb.Rule:
    """An enabled rule for CNY; the check by its field name."""
    return pb.Rule(rule_id=rule_id, currency="CNY", verdict=verdict, enabled=True, **check)


def day_limit(amount_maximum_minor: int = 0, count_maximum: int = 0) -> pb.DayLimit:
    """A day limit of the customer."""
    return pb.DayLimit(
        subject=pb.SUBJECT_KIND_CUSTOMER,
        amount_maximum_minor=amount_maximum_minor,
        count_maximum=count_maximum,
    )


def velocity(count_maximum: int, window_s: int = 60) -> pb.VelocityLimit:
    """A velocity limit of the address."""
    return pb.VelocityLimit(
        subject=pb.SUBJECT_KIND_IP, window_s=window_s, count_maximum=count_maximum
    )


def entry(
    list_name: pb.ListName.ValueType,
    value: str = "c-1",
    kind: pb.SubjectKind.ValueType = pb.SUBJECT_KIND_CUSTOMER,
    **more: Any,
) -> pb.ListEntry:
    """A list entry, of customer c-1 unless said otherwise."""
    return pb.ListEntry(list=list_name, kind=kind, value=value, **more)


@dataclass
class Fixture(Caller):
    """A running risk service and a stub of it."""

    stub: "risk_pb2_grpc.RiskServiceAsyncStub"
    feed: "events_pb2_grpc.EventFeedServiceAsyncStub"
    risk: Risk
    pool: "asyncpg.Pool[asyncpg.Record]"
    clock: FrozenClock
    request_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def request_id(self) -> str:
        """A fresh one."""
        return f"req-{next(self.request_ids)}"

    async def evaluate(self, message: pb.Evaluation) -> pb.Decision:
        """One decision, by the unary call."""
        request = pb.EvaluateRequest(evaluation=message)
        return (await self.call(self.stub.Evaluate, request)).decision

    async def batch(self, *messages: pb.Evaluation) -> list[pb.EvaluateResult]:
        """Results of a batch."""
        request = pb.EvaluateBatchRequest(evaluations=messages)
        return list((await self.call(self.stub.EvaluateBatch, request)).results)

    async def verdicts(self, *messages: pb.Evaluation) -> list[int]:
        """Verdicts of a batch."""
        return [result.decision.verdict for result in await self.batch(*messages)]

    async def upsert(self, message: pb.Rule) -> pb.Rule:
        """Write a rule."""
        request = pb.UpsertRuleRequest(request_id=self.request_id(), rule=message)
        return (await self.call(self.stub.UpsertRule, request)).rule

    async def add(self, message: pb.ListEntry) -> pb.ListEntry:
        """Put on a list."""
        request = pb.AddListEntryRequest(request_id=self.request_id(), entry=message)
        return (await self.call(self.stub.AddListEntry, request)).entry

    async def remove(self, entry_id: str) -> None:
        """Take off a list."""
        request = pb.RemoveListEntryRequest(request_id=self.request_id(), entry_id=entry_id)
        await self.call(self.stub.RemoveListEntry, request)

    async def outcomes(self, succeeded: bool, *evaluation_ids: str) -> int:
        """Tell how operations ended; how many were new."""
        request = pb.RecordOutcomesRequest(
            request_id=self.request_id(),
            outcomes=[
                pb.OperationOutcome(evaluation_id=evaluation_id, succeeded=succeeded)
                for evaluation_id in evaluation_ids
            ],
        )
        return (await self.call(self.stub.RecordOutcomes, request)).recorded_count

    async def decide(self, case_id: str, *, approved: bool, request_id: str = "") -> pb.Case:
        """Decide a case."""
        request = pb.DecideCaseRequest(
            request_id=request_id or self.request_id(),
            case_id=case_id,
            approved=approved,
            actor="risk-officer",
            note="looked at it",
        )
        return (await self.call(self.stub.DecideCase, request)).case

    async def events(self) -> list[events_pb2.Event]:
        """All events so far."""
        stream = self.feed.StreamEvents(
            events_pb2.StreamEventsRequest(follow=False), timeout=TIMEOUT_S
        )
        return [event async for response in stream for event in response.events]


StartRisk = Callable[..., AbstractAsyncContextManager[Fixture]]
FreshDatabase = Callable[[str], Awaitable[str]]
