"""Background loops: the gateway's feed, the router's channels, the platform's accounts."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf import timestamp_pb2

from fisc.common.v1 import events_pb2, events_pb2_grpc
from fisc.gateway.v1 import events_pb2 as gateway_events
from fisc.gateway.v1 import payment_pb2
from libs import log
from libs.db.pool import Pool
from libs.errors import FiscError
from libs.events import consumer
from libs.rpc import convert, deadline
from services.clearing.domain.model import ItemKind, Succeeded
from services.clearing.usecases.closing import Closing
from services.clearing.usecases.items import ChannelsUnknown, Items
from services.clearing.usecases.ports import Ledger

if TYPE_CHECKING:
    import asyncpg

CONSUMER: Final = "clearing"
SOURCE: Final = "gateway"
SUCCEEDED_STATE: Final = "SUCCEEDED"
RETURNED_STATE: Final = "RETURNED"
CATCH_UP_TIMEOUT_S: Final = 300.0
RETRY_S: Final = 1.0
FINISH_INTERVAL_S: Final = 30.0

_log = log.get_logger()


class ChannelRefresher:
    """Keeps what clearing knows of channels current."""

    def __init__(self, items: Items, *, every_s: float) -> None:
        """Asks every `every_s` seconds, more often until the first answer."""
        self._items = items
        self._every_s = every_s
        self._has_answer = False

    async def run(self) -> None:
        """Endless; while the router is away channels stay as they were."""
        while True:
            try:
                await self._items.refresh_channels()
                self._has_answer = True
            except FiscError as error:
                _log.warning("channels not refreshed", reason=error.reason)
            await asyncio.sleep(self._every_s if self._has_answer else RETRY_S)


class DayFinisher:
    """Tells that a day is closed when its last batch was booked after its close."""

    def __init__(self, closing: Closing) -> None:
        self._closing = closing

    async def run(self) -> None:
        """Endless."""
        while True:
            await asyncio.sleep(FINISH_INTERVAL_S)
            await self._closing.finish_days()


class PlatformAccounts:
    """Opens the platform's own accounts."""

    def __init__(self, ledger: Ledger, currencies: Collection[str]) -> None:
        """In these currencies."""
        self._ledger = ledger
        self._currencies = currencies

    async def run(self) -> None:
        """End when they are open."""
        while True:
            try:
                await self._ledger.open_platform_accounts(self._currencies)
            except FiscError as error:
                _log.warning("platform accounts not opened yet", reason=error.reason)
                await asyncio.sleep(RETRY_S)
            else:
                return


class FeedFollower:
    """Turns the gateway's events into items; effect and cursor in one transaction."""

    def __init__(
        self,
        *,
        channel: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str | bytes]],
        pool: Pool,
        items: Items,
    ) -> None:
        """The metadata authorizes clearing at the gateway."""
        self._source: dict[str, Any] = {
            "stub": events_pb2_grpc.EventFeedServiceStub(channel),
            "consumer": CONSUMER,
            "source": SOURCE,
            "pool": pool,
            "apply": self._apply,
            "metadata": metadata,
        }
        self._items = items

    async def run(self) -> None:
        """Endless. Waits for the router before it dates the facts of a channel it has not met."""
        while True:
            try:
                await consumer.follow(**self._source)
            except ChannelsUnknown as unknown:
                try:
                    await self._items.learn_channels(unknown.channel_ids)
                except FiscError as error:
                    _log.warning("channels not learnt yet", reason=error.reason)
                    await asyncio.sleep(RETRY_S)

    async def catch_up(self) -> int:
        """Take in what has happened up to now; how many events that was. Raises FiscError."""
        while True:
            try:
                return await consumer.catch_up(
                    **self._source, timeout_s=deadline.budget_s(CATCH_UP_TIMEOUT_S)
                )
            except ChannelsUnknown as unknown:
                await self._items.learn_channels(unknown.channel_ids)

    async def _apply(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        events: Sequence[events_pb2.Event],
    ) -> None:
        await self._items.record(connection, list(facts(events)))


def facts(events: Iterable[events_pb2.Event]) -> Iterable[Succeeded]:
    """What moved money among the gateway's events, in order."""
    for event in events:
        match event.type:
            case "payment.succeeded":
                yield from _payment(event)
            case "payment.late_success" | "capture.late_success" | "refund.late_success":
                yield _late(event)
            case "payout.late_success" | "payout.late_return":
                yield _late(event)
            case "capture.succeeded":
                yield _capture(event)
            case "refund.succeeded":
                yield _refund(event)
            case "payout.succeeded":
                yield _payout(event)
            case "payout.returned":
                yield _payout_return(event)


def _payment(event: events_pb2.Event) -> Iterable[Succeeded]:
    payload = gateway_events.PaymentEvent()
    event.payload.Unpack(payload)
    payment = payload.payment
    if payment.capture_method == payment_pb2.CAPTURE_METHOD_MANUAL:
        # Its money is told by its captures.
        return
    yield _succeeded(
        event,
        _attempt_in(SUCCEEDED_STATE, payload.attempts),
        payment,
        kind=ItemKind.PAYMENT,
        subject_id=payment.payment_id,
        payment_id=payment.payment_id,
    )


_LATE_KINDS = {
    "payment.late_success": ItemKind.PAYMENT,
    "capture.late_success": ItemKind.PAYMENT,
    "refund.late_success": ItemKind.REFUND,
    "payout.late_success": ItemKind.PAYOUT,
    "payout.late_return": ItemKind.PAYOUT_RETURN,
}


def _late(event: events_pb2.Event) -> Succeeded:
    """Money that a channel moved for what had ended otherwise."""
    subject, attempt, payment_id = _late_parts(event)
    kind = _LATE_KINDS[event.type]
    attempt_id = attempt.attempt_id or f"{event.subject_id}:late"
    return _succeeded(
        event,
        attempt,
        subject,
        kind=kind,
        subject_id=f"{attempt_id}:return" if kind is ItemKind.PAYOUT_RETURN else attempt_id,
        payment_id=payment_id,
        # What stands in the subject is about another success, if about any.
        happened_at=event.occurred_at,
        settles=False,
    )


def _late_parts(event: events_pb2.Event) -> tuple[Any, gateway_events.AttemptRecord, str]:
    """The subject, the attempt that moved the money, and the payment it belongs to."""
    match event.type.partition(".")[0]:
        case "payment":
            of_payment = gateway_events.PaymentEvent()
            event.payload.Unpack(of_payment)
            payment_id = of_payment.payment.payment_id
            return of_payment.payment, _last(of_payment.attempts), payment_id
        case "capture":
            of_capture = gateway_events.CaptureEvent()
            event.payload.Unpack(of_capture)
            return of_capture.capture, of_capture.attempt, of_capture.capture.payment_id
        case "refund":
            of_refund = gateway_events.RefundEvent()
            event.payload.Unpack(of_refund)
            return of_refund.refund, of_refund.attempt, of_refund.refund.payment_id
        case _:
            of_payout = gateway_events.PayoutEvent()
            event.payload.Unpack(of_payout)
            return of_payout.payout, _last(of_payout.attempts), ""


def _last(attempts: Sequence[gateway_events.AttemptRecord]) -> gateway_events.AttemptRecord:
    return attempts[-1] if attempts else gateway_events.AttemptRecord()


def _capture(event: events_pb2.Event) -> Succeeded:
    payload = gateway_events.CaptureEvent()
    event.payload.Unpack(payload)
    return _succeeded(
        event,
        payload.attempt,
        payload.capture,
        kind=ItemKind.PAYMENT,
        subject_id=payload.capture.capture_id,
        payment_id=payload.capture.payment_id,
    )


def _refund(event: events_pb2.Event) -> Succeeded:
    payload = gateway_events.RefundEvent()
    event.payload.Unpack(payload)
    return _succeeded(
        event,
        payload.attempt,
        payload.refund,
        kind=ItemKind.REFUND,
        subject_id=payload.refund.refund_id,
        payment_id=payload.refund.payment_id,
        settles=payload.refund.origin != payment_pb2.Refund.ORIGIN_LATE_SUCCESS,
    )


def _payout(event: events_pb2.Event) -> Succeeded:
    payload = gateway_events.PayoutEvent()
    event.payload.Unpack(payload)
    return _succeeded(
        event,
        _attempt_in(SUCCEEDED_STATE, payload.attempts),
        payload.payout,
        kind=ItemKind.PAYOUT,
        subject_id=payload.payout.payout_id,
        payment_id="",
    )


def _payout_return(event: events_pb2.Event) -> Succeeded:
    payload = gateway_events.PayoutEvent()
    event.payload.Unpack(payload)
    payout = payload.payout
    return _succeeded(
        event,
        _attempt_in(RETURNED_STATE, payload.attempts),
        payout,
        kind=ItemKind.PAYOUT_RETURN,
        subject_id=f"{payout.payout_id}:return",
        payment_id="",
        happened_at=payout.returned_at if payout.HasField("returned_at") else event.occurred_at,
    )


def _attempt_in(
    state: str, attempts: Sequence[gateway_events.AttemptRecord]
) -> gateway_events.AttemptRecord:
    """The last attempt in that state; an empty one if there is none."""
    found = (each for each in reversed(attempts) if each.state == state)
    return next(found, gateway_events.AttemptRecord())


def _succeeded(
    event: events_pb2.Event,
    attempt: gateway_events.AttemptRecord,
    subject: Any,
    *,
    kind: ItemKind,
    subject_id: str,
    payment_id: str,
    happened_at: timestamp_pb2.Timestamp | None = None,
    settles: bool = True,
) -> Succeeded:
    if not attempt.out_ref:
        # The item must not be lost; without its reference matching will show it as SHORT.
        _log.warning("success without an attempt", event_id=event.event_id, subject_id=subject_id)
    return Succeeded(
        subject_id=subject_id,
        kind=kind,
        merchant_id=subject.merchant_id,
        channel_id=attempt.channel_id or subject.channel_id,
        out_ref=attempt.out_ref or subject_id,
        provider_ref=attempt.provider_ref,
        currency=subject.amount.currency,
        amount_minor=subject.amount.amount_minor,
        payment_id=payment_id,
        succeeded_at=convert.from_timestamp(happened_at or _moment(event, subject)),
        settles=settles,
    )


def _moment(event: events_pb2.Event, subject: Any) -> timestamp_pb2.Timestamp:
    moment: timestamp_pb2.Timestamp = (
        subject.succeeded_at if subject.HasField("succeeded_at") else event.occurred_at
    )
    return moment
