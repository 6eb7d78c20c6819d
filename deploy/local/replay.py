"""Sends a day file to a running suite as its merchants would, in the order of its times."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import httpx

from deploy.local import catalog, outcomes, planted
from deploy.local.clients import Platform, bearer, describe
from deploy.local.credentials import Credentials
from deploy.local.dayfile import DayFile, Row
from deploy.local.outcomes import Outcomes, Subject, subject_id
from deploy.local.planted import Planter
from deploy.local.reviews import Reviewer
from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import payment_pb2
from libs.errors import FiscError

CONCURRENCY_DEFAULT: Final = 64
PAYER_TIME_S: Final = 30
"""How long a payer has for a QR code: the replay's day takes a minute."""
CALL_TIMEOUT_S: Final = 20.0
SEND_ATTEMPTS_MAX: Final = 8
SEND_PAUSE_S: Final = 0.5
SETTLE_TIMEOUT_S: Final = 150.0
SETTLE_POLL_S: Final = 0.2
NOT_SENT: Final = "not sent"
CLOCK_STEP: Final = timedelta(minutes=3)
CLOCK_HOLD_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to replay. `speed` is file seconds a real second; 0 is as fast as the platform takes it."""

    speed: float = 0.0
    concurrency: int = CONCURRENCY_DEFAULT
    with_faults: bool = True


@dataclass(slots=True, kw_only=True)
class RowResult:
    """What became of sending one row. `problem` when there is no subject: why it was not sent."""

    row: Row
    subject_id: str = ""
    problem: str = ""


@dataclass(slots=True, kw_only=True)
class Replay:
    """A finished replay: every row's fate and what the feed told."""

    file: DayFile
    results: list[RowResult]
    outcomes: Outcomes
    was_replayed_before: bool
    planter: Planter | None
    wrong_bill_ref: str
    reviewer: Reviewer
    elapsed_s: float
    unended: list[Subject] = field(default_factory=list)


Progress: TypeAlias = Callable[[int, int, str], None]
"""Rows done, rows in all, the file's time and what is going on."""


class Sender:
    """Turns rows into calls and remembers which subject each became."""

    def __init__(self, platform: Platform, credentials: Credentials, file: DayFile) -> None:
        self._platform = platform
        self._file = file
        self._keys = {name: bearer(key) for name, key in credentials.api_keys.items()}

    async def send(self, row: Row, payment_id: str) -> Subject:
        """Send one row; a repetition answers what stands. Raises FiscError."""
        for attempt in range(SEND_ATTEMPTS_MAX):
            try:
                return await self._send(row, payment_id)
            except FiscError as error:
                if not error.kind.retryable or attempt == SEND_ATTEMPTS_MAX - 1:
                    raise
            await asyncio.sleep(SEND_PAUSE_S * (attempt + 1))
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, row: Row, payment_id: str) -> Subject:
        payments, metadata = self._platform.payments, self._keys[row.merchant]
        request_id = self._file.request_id(row)
        amount = money_pb2.Money(currency=row.currency, amount_minor=row.amount_minor)
        call, timeout_s = self._platform.call, CALL_TIMEOUT_S
        if row.kind == "payment":
            payment = payment_pb2.CreatePaymentRequest(
                request_id=request_id,
                amount=amount,
                method=catalog.method(row.method),
                order_ref=row.ref,
                description=row.description,
                payer=payment_pb2.Payer(customer_id=row.customer, country=row.country),
                channel_ids=[row.channel_hint] if row.channel_hint else [],
                expires_in_s=PAYER_TIME_S,
            )
            made = await call(
                payments.CreatePayment, payment, metadata=metadata, timeout_s=timeout_s
            )
            return made.payment
        if row.kind == "refund":
            refund = payment_pb2.CreateRefundRequest(
                request_id=request_id, payment_id=payment_id, amount=amount, note=row.description
            )
            given = await call(
                payments.CreateRefund, refund, metadata=metadata, timeout_s=timeout_s
            )
            return given.refund
        payout = payment_pb2.CreatePayoutRequest(
            request_id=request_id,
            amount=amount,
            payee=payment_pb2.Payee(account=row.payee_account, name=row.payee_name),
            description=row.description,
        )
        sent = await call(payments.CreatePayout, payout, metadata=metadata, timeout_s=timeout_s)
        return sent.payout


class BusinessClock:
    """Keeps the sandbox's time at the file's: moved by rows, held while nothing moves it."""

    def __init__(self, platform: Platform) -> None:
        self._sandbox = platform.sandbox
        self._now: datetime | None = None

    async def advance(self, moment: datetime) -> None:
        """Move on if the file is a good step ahead."""
        if self._now is None or moment - self._now >= CLOCK_STEP:
            self._now = moment
            await self._sandbox.set_clock(moment)

    async def hold(self) -> None:
        """Set it back to the file's time again and again; else a wait could pass midnight."""
        while True:
            await asyncio.sleep(CLOCK_HOLD_S)
            if self._now is not None:
                with contextlib.suppress(httpx.HTTPError):
                    await self._sandbox.set_clock(self._now)


class Run:
    """One replay under way."""

    def __init__(
        self,
        *,
        platform: Platform,
        sender: Sender,
        file: DayFile,
        heard: Outcomes,
        options: Options,
        on_progress: Progress,
    ) -> None:
        self._sender = sender
        self._file = file
        self._heard = heard
        self._options = options
        self._on_progress = on_progress
        self._clock = BusinessClock(platform)
        self._slots = asyncio.Semaphore(options.concurrency)
        self._done = 0
        self._reached = file.rows[0].time
        self.results = {row.ref: RowResult(row=row) for row in file.rows}
        self._sent = {row.ref: asyncio.Event() for row in file.rows if row.kind == "payment"}
        self.planter: Planter | None = None

    async def run(self) -> None:
        """Send every row, then wait until all of them have ended or the patience has."""
        began, first = time.monotonic(), self._file.rows[0].time
        async with _running(self._clock.hold()), asyncio.TaskGroup() as group:
            for row in self._file.rows:
                if self._options.speed:
                    due_s = (row.time - first).total_seconds() / self._options.speed
                    await asyncio.sleep(max(0.0, began + due_s - time.monotonic()))
                if row.kind != "refund":
                    await self._slots.acquire()
                self._reached = row.time
                await self._clock.advance(row.time)
                for news in await self.planter.advance(row.time) if self.planter else ():
                    self._tell(news)
                group.create_task(self._handle(row))

    async def wait_ended(self) -> list[Subject]:
        """Wait until nothing is on its way; what is after SETTLE_TIMEOUT_S."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        async with _running(self._clock.hold()):
            while (unended := self._heard.unended()) and time.monotonic() < deadline:
                self._tell(f"waiting for {len(unended)} that have not ended")
                await asyncio.sleep(SETTLE_POLL_S)
        return unended

    async def _handle(self, row: Row) -> None:
        result = self.results[row.ref]
        try:
            if row.kind == "refund":
                await self._refund(row, result)
            else:
                await self._order(row, result, "")
        finally:
            if row.kind != "refund":
                self._slots.release()
            if row.ref in self._sent:
                self._sent[row.ref].set()
            self._done += 1
            self._tell("")

    async def _refund(self, row: Row, result: RowResult) -> None:
        """A refund waits for its payment to end, and is not sent if that took no money."""
        await self._sent[row.refund_of].wait()
        payment_id = self.results[row.refund_of].subject_id
        if payment_id:
            await self._heard.ended(payment_id)
        payment = self._heard.subjects.get(payment_id)
        if payment is None or not outcomes.has_succeeded(payment):
            result.problem = f"{NOT_SENT}: {row.refund_of} took no money"
            return
        async with self._slots:
            await self._order(row, result, payment_id)

    async def _order(self, row: Row, result: RowResult, payment_id: str) -> None:
        try:
            subject = await self._sender.send(row, payment_id)
        except FiscError as error:
            result.problem = describe(error)
            return
        result.subject_id = subject_id(subject)
        self._heard.take(subject)

    def _tell(self, news: str) -> None:
        text = f"{self._reached:%H:%M} {news}".rstrip()
        self._on_progress(self._done, len(self._file.rows), text)


async def replay(
    platform: Platform,
    credentials: Credentials,
    file: DayFile,
    options: Options,
    on_progress: Progress,
) -> Replay:
    """Send the whole file and wait for its end. Raises httpx.HTTPError when the sandbox is away.

    A file sent before changes nothing: every request is answered with what stands, and no fault is
    planted.
    """
    began = time.monotonic()
    prefix = file.request_id(file.rows[0]).partition(":")[0] + ":"
    was_replayed_before = await _stands(platform, credentials, file)
    reviewer = Reviewer(platform, prefix)
    async with outcomes.following(platform, prefix) as heard, _running(reviewer.run()):
        run = Run(
            platform=platform,
            sender=Sender(platform, credentials, file),
            file=file,
            heard=heard,
            options=options,
            on_progress=on_progress,
        )
        if options.with_faults and not was_replayed_before:
            run.planter = Planter(platform, file)
        wrong_bill_ref = ""
        try:
            await run.run()
            unended = await run.wait_ended()
        finally:
            if run.planter is not None:
                await run.planter.finish()
        # After the others are lifted, for this one stands until the bill is fetched.
        if run.planter is not None:
            wrong_bill_ref = await run.planter.plant_wrong_bill(heard)
        await outcomes.read_to_end(platform, heard)
        if was_replayed_before:
            wrong_bill_ref = await planted.wrong_bill_ref(platform, heard)
    return Replay(
        file=file,
        results=list(run.results.values()),
        outcomes=heard,
        was_replayed_before=was_replayed_before,
        planter=run.planter,
        wrong_bill_ref=wrong_bill_ref,
        reviewer=reviewer,
        elapsed_s=time.monotonic() - began,
        unended=unended,
    )


async def _stands(platform: Platform, credentials: Credentials, file: DayFile) -> bool:
    """Whether the first payment of this very file is known already."""
    first = next((row for row in file.rows if row.kind == "payment"), None)
    if first is None:
        return False
    answer = await platform.call(
        platform.payments.ListPayments,
        payment_pb2.ListPaymentsRequest(order_ref=first.ref, page_size=1000),
        metadata=bearer(credentials.api_keys[first.merchant]),
    )
    wanted = file.request_id(first)
    return any(payment.request_id == wanted for payment in answer.payments)


@contextlib.asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a loop beside the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
