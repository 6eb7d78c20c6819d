"""What became of each payment, refund and payout, heard at the gateway's event feed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import grpc

from deploy.local.clients import STREAM_TIMEOUT_S, Platform
from fisc.common.v1 import events_pb2
from fisc.gateway.v1 import events_pb2 as gateway_events
from fisc.gateway.v1 import payment_pb2
from libs.errors import FiscError

Subject: TypeAlias = payment_pb2.Payment | payment_pb2.Refund | payment_pb2.Payout

RECONNECT_S: Final = 0.5
PAYMENT_ENDED: Final = frozenset(
    {
        payment_pb2.Payment.STATE_SUCCEEDED,
        payment_pb2.Payment.STATE_FAILED,
        payment_pb2.Payment.STATE_CANCELED,
        payment_pb2.Payment.STATE_MANUAL,
    }
)
REFUND_ENDED: Final = frozenset(
    {
        payment_pb2.Refund.STATE_SUCCEEDED,
        payment_pb2.Refund.STATE_FAILED,
        payment_pb2.Refund.STATE_MANUAL,
    }
)
PAYOUT_ENDED: Final = frozenset(
    {
        payment_pb2.Payout.STATE_SUCCEEDED,
        payment_pb2.Payout.STATE_FAILED,
        payment_pb2.Payout.STATE_RETURNED,
        payment_pb2.Payout.STATE_MANUAL,
    }
)


def has_ended(subject: Subject) -> bool:
    """Whether nothing more is expected of it, short of a person."""
    match subject:
        case payment_pb2.Payment():
            return subject.state in PAYMENT_ENDED
        case payment_pb2.Refund():
            return subject.state in REFUND_ENDED
        case _:
            return subject.state in PAYOUT_ENDED


def has_succeeded(subject: Subject) -> bool:
    """Whether money moved as asked."""
    return state_name(subject) == "SUCCEEDED"


def state_name(subject: Subject) -> str:
    """The public state, without its prefix: SUCCEEDED, FAILED, …"""
    match subject:
        case payment_pb2.Payment():
            name = payment_pb2.Payment.State.Name(subject.state)
        case payment_pb2.Refund():
            name = payment_pb2.Refund.State.Name(subject.state)
        case _:
            name = payment_pb2.Payout.State.Name(subject.state)
    return name.removeprefix("STATE_")


def subject_id(subject: Subject) -> str:
    """Its own id."""
    match subject:
        case payment_pb2.Payment():
            return subject.payment_id
        case payment_pb2.Refund():
            return subject.refund_id
        case _:
            return subject.payout_id


@dataclass(slots=True)
class Outcomes:
    """The latest version of every subject with its attempts, and who waits for one to end."""

    request_prefix: str = ""
    """Only subjects whose request_id begins like this are kept; empty for all."""
    subjects: dict[str, Subject] = field(default_factory=dict)
    attempts: dict[str, gateway_events.AttemptRecord] = field(default_factory=dict)
    succeeded_events: dict[str, set[str]] = field(default_factory=dict)
    """The events that told of each subject's success: one, if all is well."""
    _waiting: dict[str, asyncio.Event] = field(default_factory=dict)

    def take(self, subject: Subject) -> None:
        """Keep a subject unless a later version is known."""
        if not subject.request_id.startswith(self.request_prefix):
            return
        key = subject_id(subject)
        known = self.subjects.get(key)
        if known is not None and known.version >= subject.version:
            return
        self.subjects[key] = subject
        if has_ended(subject) and key in self._waiting:
            self._waiting[key].set()

    def take_event(self, event: events_pb2.Event) -> None:
        """Learn from one event of the gateway's feed."""
        attempts: list[gateway_events.AttemptRecord] = []
        subject: Subject
        match event.type.partition(".")[0]:
            case "payment":
                payment_event = gateway_events.PaymentEvent()
                event.payload.Unpack(payment_event)
                subject, attempts = payment_event.payment, list(payment_event.attempts)
            case "refund":
                refund_event = gateway_events.RefundEvent()
                event.payload.Unpack(refund_event)
                subject, attempts = refund_event.refund, [refund_event.attempt]
            case "payout":
                payout_event = gateway_events.PayoutEvent()
                event.payload.Unpack(payout_event)
                subject, attempts = payout_event.payout, list(payout_event.attempts)
            case _:
                return
        if not subject.request_id.startswith(self.request_prefix):
            return
        # Events of one subject come in order, so the last word on an attempt is the latest.
        self.attempts.update({each.attempt_id: each for each in attempts if each.attempt_id})
        if event.type.endswith(".succeeded"):
            self.succeeded_events.setdefault(event.subject_id, set()).add(event.event_id)
        self.take(subject)

    async def ended(self, key: str) -> None:
        """Wait until a subject has ended."""
        subject = self.subjects.get(key)
        if subject is not None and has_ended(subject):
            return
        await self._waiting.setdefault(key, asyncio.Event()).wait()

    def unended(self) -> list[Subject]:
        """What is still on its way."""
        return [subject for subject in self.subjects.values() if not has_ended(subject)]


@contextlib.asynccontextmanager
async def following(platform: Platform, request_prefix: str) -> AsyncIterator[Outcomes]:
    """Follow the gateway's feed from its beginning for as long as the block lasts."""
    outcomes = Outcomes(request_prefix)
    task = asyncio.create_task(_follow(platform, outcomes), name="follow the gateway's feed")
    try:
        yield outcomes
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def read_to_end(platform: Platform, outcomes: Outcomes) -> None:
    """Take every event the feed holds now. Raises grpc.aio.AioRpcError."""
    request = events_pb2.StreamEventsRequest(batch_max=500)
    stream = platform.gateway_events.StreamEvents(
        request, timeout=STREAM_TIMEOUT_S, metadata=platform.operator
    )
    async for response in stream:
        for event in response.events:
            outcomes.take_event(event)


async def _follow(platform: Platform, outcomes: Outcomes) -> None:
    cursor = ""
    while True:
        request = events_pb2.StreamEventsRequest(cursor=cursor, batch_max=500, follow=True)
        stream = platform.gateway_events.StreamEvents(
            request, timeout=STREAM_TIMEOUT_S, metadata=platform.operator
        )
        with contextlib.suppress(grpc.aio.AioRpcError, FiscError):
            async for response in stream:
                cursor = response.next_cursor or cursor
                for event in response.events:
                    outcomes.take_event(event)
        await asyncio.sleep(RECONNECT_S)
