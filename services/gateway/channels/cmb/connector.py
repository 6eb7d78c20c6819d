"""The CMB connector: signs, seals, sends, opens, verifies, and says what it means."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from http import HTTPStatus
from typing import Final, NoReturn

from libs.clock import Clock
from services.gateway.channels import answers, http
from services.gateway.channels.answers import Malformed
from services.gateway.channels.cmb import envelope, messages, settings
from services.gateway.channels.cmb.classify import CALL_OK
from services.gateway.channels.cmb.envelope import Json
from services.gateway.channels.gathering import Gathering
from services.gateway.domain.channel import (
    Balance,
    BillFile,
    BillNotReady,
    Callback,
    CallbackAck,
    CallbackSignatureInvalid,
    CaptureOrder,
    ChannelUnavailable,
    ChannelUnsupported,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)

# SM2 takes a third of a millisecond and lets the interpreter go; two threads keep two cores busy.
SIGNING_THREADS: Final = 2
BILL_TIMEOUT_S: Final = 60.0
PAGES_MAX: Final = 2_000
PAGE_BYTES_MAX: Final = 8 << 20
TRANSPORT_REFUSED: Final = "TRANSPORT_REFUSED"
UNSUPPORTED: Final = "this bank pays out; it does not collect"
SERVER_FAULT_MIN: Final = 500


class CmbConnector:
    """One account at CMB. Implements payouts, balance and bills of `Connector`."""

    def __init__(
        self,
        *,
        base_url: str,
        credentials: Mapping[str, str],
        http: http.ChannelHttp,
        clock: Clock,
        new_nonce: Callable[[], str],
        timeout_s: float,
    ) -> None:
        self._url = base_url
        self._settings = settings.load(credentials)
        self._http = http
        self._clock = clock
        self._new_nonce = new_nonce
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="cmb-sm2")
        self._gathering = Gathering[PayoutOrder, Outcome](
            self._pay_batch,
            window_s=self._settings.batch_window_s,
            count_max=self._settings.batch_count_max,
        )

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Pay one, or together with others where the channel is set so. `out_ref` is the bank's yurRef."""
        if order.currency != messages.CURRENCY:
            raise ChannelUnsupported("only yuan can be paid out", out_ref=order.out_ref)
        if len(order.out_ref) > messages.REFERENCE_LENGTH_MAX:
            raise ChannelUnsupported("the number is too long", out_ref=order.out_ref)
        if self._settings.batch_count_max > 1:
            return await self._gathering.add(order)
        return await answers.settle(self._pay(order))

    async def query_payout(self, order: SentOrder) -> Outcome:
        """Ask for a payout's state; the bank says here, too, that one has come back."""
        return await answers.settle(self._query(order.out_ref))

    async def balance(self) -> Balance:
        """What the account may pay out."""
        head, body = await self._ask("NTQACINF", messages.account(self._settings))
        if head["resultcode"] != CALL_OK:
            raise ChannelUnavailable(messages.refused(head).code)
        try:
            return messages.balance(body, self._settings)
        except Malformed as error:
            raise ChannelUnavailable(str(error), field=error.field) from error

    async def fetch_bill(self, business_date: date) -> BillFile:
        """The day's transactions, all pages of them."""
        if business_date >= self._clock.now().astimezone(messages.ZONE).date():
            # Asked today, the bank would tell what there is so far.
            raise BillNotReady(f"the day {business_date.isoformat()} is not over")
        pages: list[Json] = []
        sequence: str | None = "0"
        function = self._settings.transactions_function
        try:
            while sequence is not None:
                if len(pages) == PAGES_MAX:
                    raise ChannelUnavailable(f"more than {PAGES_MAX} pages of transactions")
                question = messages.transactions(business_date, sequence, self._settings)
                head, body = await self._ask(function, question)
                if head["resultcode"] != CALL_OK:
                    self._refuse_bill(business_date, head)
                following = messages.next_sequence(body)
                if following is not None and int(following) <= int(sequence):
                    raise ChannelUnavailable("the pages of the transactions do not go on")
                pages.append(body)
                sequence = following
            return messages.bill(business_date, pages, self._settings)
        except Malformed as error:
            raise ChannelUnavailable(str(error), field=error.field) from error

    async def charge(self, order: ChargeOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def query(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def close(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def capture(self, order: CaptureOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def query_capture(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def refund(self, order: RefundOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def query_refund(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        """The bank calls nobody: whoever does is somebody else. Raises CallbackSignatureInvalid."""
        del headers, body, now
        raise CallbackSignatureInvalid("this bank sends no notifications", field="body")

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        """There is nothing to acknowledge."""
        return CallbackAck(
            status=HTTPStatus.OK if ok else HTTPStatus.BAD_REQUEST,
            content_type="text/plain",
            body=message.encode(),
        )

    async def _pay(self, order: PayoutOrder) -> Outcome:
        head, body = await self._call("BB1PAYOP", messages.single(order, self._settings))
        if head["resultcode"] != CALL_OK:
            return messages.refused(head)
        found = messages.records(body, "bb1payopz1")
        if len(found) != 1:
            raise Malformed("one payment was handed in", field="bb1payopz1")
        if found[0].get("errCod") in self._settings.duplicate_codes:
            return await self._query(order.out_ref)
        return messages.accepted(found[0], self._settings)

    async def _pay_batch(self, orders: Sequence[PayoutOrder]) -> Sequence[Outcome]:
        if len(orders) == 1:
            return [await answers.settle(self._pay(orders[0]))]
        outcome = await answers.settle(self._pay_together(orders))
        return [outcome] * len(orders)

    async def _pay_together(self, orders: Sequence[PayoutOrder]) -> Outcome:
        """What the bank says of the batch holds for each in it; how each ends is asked for one by one."""
        head, body = await self._call("BB1PAYBH", messages.batch(orders, self._settings))
        if head["resultcode"] != CALL_OK:
            return messages.refused(head)
        found = messages.records(body, "bb1paybhz1")
        if len(found) != 1:
            raise Malformed("one batch was handed in", field="bb1paybhz1")
        outcome = messages.accepted(found[0], self._settings)
        if outcome.kind is OutcomeKind.SUCCEEDED:
            # The batch is done; whether each of its payments is, the batch does not say.
            return Outcome(kind=OutcomeKind.PENDING, code=outcome.code)
        return outcome

    async def _query(self, out_ref: str) -> Outcome:
        head, body = await self._call("BB1PAYQR", messages.query(out_ref, self._settings))
        if head["resultcode"] in self._settings.not_found_codes:
            return Outcome(kind=OutcomeKind.NOT_FOUND, code=str(head["resultcode"]))
        if head["resultcode"] != CALL_OK:
            return messages.refused(head)
        found = messages.records(body, "bb1payqrz1")
        if not found:
            return Outcome(kind=OutcomeKind.NOT_FOUND, code="NOT_FOUND")
        if len(found) > 1:
            raise Malformed("one payment was asked about", field="bb1payqrz1")
        answers.check_reference(answers.text(found[0], "yurRef"), asked=out_ref)
        outcome = messages.state(found[0], self._settings)
        if outcome.kind is OutcomeKind.RETURNED:
            return replace(outcome, paid_at=await self._returned_on(found[0], out_ref))
        return outcome

    async def _returned_on(self, record: Json, out_ref: str) -> datetime | None:
        """When it came back; that it did is certain already, so any trouble here is none."""
        today = self._clock.now().astimezone(messages.ZONE).date()
        try:
            head, body = await self._call(
                "BB1PAYQB", messages.returns(record, today, self._settings)
            )
            return messages.returned_on(body, out_ref) if head["resultcode"] == CALL_OK else None
        except (
            http.NotSent,
            http.NoAnswer,
            answers.ServerFault,
            answers.SignatureInvalid,
            Malformed,
        ):
            return None

    def _refuse_bill(self, business_date: date, head: Mapping[str, object]) -> NoReturn:
        code = messages.refused(head).code
        if code in self._settings.not_ready_codes:
            raise BillNotReady(f"the bank does not have {business_date.isoformat()} yet")
        raise ChannelUnavailable(code)

    async def _ask(self, function: str, body: Json) -> tuple[Json, Json]:
        """Raises ChannelUnavailable."""
        try:
            return await self._call(
                function, body, timeout_s=BILL_TIMEOUT_S, answer_bytes_max=PAGE_BYTES_MAX
            )
        except answers.SignatureInvalid as error:
            raise ChannelUnavailable(str(error), field=error.field) from error
        except (http.NotSent, http.NoAnswer, answers.ServerFault, Malformed) as error:
            raise ChannelUnavailable(str(error)) from error

    async def _call(
        self,
        function: str,
        body: Json,
        *,
        timeout_s: float | None = None,
        answer_bytes_max: int = http.ANSWER_BYTES_MAX,
    ) -> tuple[Json, Json]:
        """Head and body of the answer. Raises NotSent, NoAnswer, ServerFault, SignatureInvalid, Malformed."""
        ours, loop = self._settings, asyncio.get_running_loop()
        now = self._clock.now().astimezone(messages.ZONE)
        request_id = f"{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}{self._new_nonce()[:8]}"
        data = await loop.run_in_executor(
            self._threads,
            lambda: envelope.seal(
                messages.request(function, ours.user_id, request_id, body),
                user_id=ours.user_id,
                key=ours.private_key,
                cipher_key=ours.cipher_key,
                signed_at=now,
            ),
        )
        answer = await self._http.send(
            "POST",
            self._url,
            headers={"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "fisc"},
            body=envelope.form(function, ours.user_id, data),
            timeout_s=timeout_s or self._timeout_s,
            answer_bytes_max=answer_bytes_max,
        )
        if answer.status >= SERVER_FAULT_MIN:
            raise answers.ServerFault(answer.status)
        content = await loop.run_in_executor(self._threads, lambda: self._open(answer.body))
        return messages.response(
            content, function=function, user_id=ours.user_id, request_id=request_id
        )

    def _open(self, body: bytes) -> Json:
        ours = self._settings
        try:
            return envelope.open_answer(
                body, user_id=ours.user_id, key=ours.bank_key, cipher_key=ours.cipher_key
            )
        except envelope.TransportRefused as error:
            raise Malformed(f"{TRANSPORT_REFUSED}: {error}") from error
