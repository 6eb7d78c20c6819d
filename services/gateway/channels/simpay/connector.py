"""The simpay connector: signs, sends, verifies, and says what it means."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from libs.clock import Clock
from services.gateway.channels import answers, http
from services.gateway.channels.simpay import classify, messages, signing
from services.gateway.channels.simpay.classify import Operation, Subject
from services.gateway.domain.channel import (
    Balance,
    BillFile,
    BillNotReady,
    Callback,
    CallbackAck,
    CallbackMalformed,
    CallbackSignatureInvalid,
    CaptureOrder,
    ChannelUnavailable,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)

BILL_TIMEOUT_S = 60.0
BILL_BYTES_MAX = 256 << 20
CALLBACK_BYTES_MAX = 64 * 1024


class SimpayConnector:
    """One simpay account. Implements `Connector`, all of it."""

    def __init__(
        self,
        *,
        base_url: str,
        secret: str,
        http: http.ChannelHttp,
        clock: Clock,
        new_nonce: Callable[[], str],
        timeout_s: float,
    ) -> None:
        self._base_url = base_url
        self._base_path = urlsplit(base_url).path
        self._secret = secret.encode()
        self._http = http
        self._clock = clock
        self._new_nonce = new_nonce
        self._timeout_s = timeout_s

    async def charge(self, order: ChargeOrder) -> Outcome:
        """Create a charge, or only reserve its money; it may succeed at once."""
        body = messages.charge_body(order)
        return await answers.settle(
            self._order(Operation.CHARGE, Subject.CHARGE, order.out_ref, "/charges", body),
            not_sent=OutcomeKind.DECLINED_SOFT,
        )

    async def query(self, order: SentOrder) -> Outcome:
        """Ask for a charge's state."""
        return await answers.settle(self._query(Subject.CHARGE, "charges", order.out_ref))

    async def close(self, order: SentOrder) -> Outcome:
        """Close a charge or release what it reserves; an unknown number is closed for ever, too."""
        target = f"/charges/{quote(order.out_ref, safe='')}/close"
        return await answers.settle(
            self._order(Operation.CLOSE, Subject.CHARGE, order.out_ref, target)
        )

    async def capture(self, order: CaptureOrder) -> Outcome:
        """Take reserved money, or get the state of the capture with this number."""
        body = messages.capture_body(order)
        return await answers.settle(
            self._order(Operation.CAPTURE, Subject.CAPTURE, order.out_ref, "/captures", body)
        )

    async def query_capture(self, order: SentOrder) -> Outcome:
        """Ask for a capture's state."""
        return await answers.settle(self._query(Subject.CAPTURE, "captures", order.out_ref))

    async def refund(self, order: RefundOrder) -> Outcome:
        """Create a refund, or get the state of the one with this number."""
        body = messages.refund_body(order)
        return await answers.settle(
            self._order(Operation.REFUND, Subject.REFUND, order.out_ref, "/refunds", body)
        )

    async def query_refund(self, order: SentOrder) -> Outcome:
        """Ask for a refund's state."""
        return await answers.settle(self._query(Subject.REFUND, "refunds", order.out_ref))

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Create a payout, or get the state of the one with this number."""
        body = messages.payout_body(order)
        return await answers.settle(
            self._order(Operation.PAYOUT, Subject.PAYOUT, order.out_ref, "/payouts", body)
        )

    async def query_payout(self, order: SentOrder) -> Outcome:
        """Ask for a payout's state."""
        return await answers.settle(self._query(Subject.PAYOUT, "payouts", order.out_ref))

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        """Verify and read a notification."""
        if len(body) > CALLBACK_BYTES_MAX:
            raise CallbackMalformed(
                f"the body is longer than {CALLBACK_BYTES_MAX} bytes", field="body"
            )
        try:
            signing.verify(
                secret=self._secret, headers=answers.lower_names(headers), body=body, now=now
            )
            return messages.callback(body)
        except answers.SignatureInvalid as error:
            raise CallbackSignatureInvalid(str(error), field=error.field) from error
        except answers.Malformed as error:
            raise CallbackMalformed(str(error), field=error.field or "body") from error

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        """200 "ok", or 400 with the reason, after which simpay delivers again."""
        if ok:
            return CallbackAck(status=200, content_type="text/plain", body=b"ok")
        return CallbackAck(status=400, content_type="text/plain", body=message.encode())

    async def fetch_bill(self, business_date: date) -> BillFile:
        """The day's bill of charges, captures, refunds, payouts and payouts that came back."""
        answer = await self._ask(
            f"/bills/{business_date.isoformat()}",
            timeout_s=BILL_TIMEOUT_S,
            answer_bytes_max=BILL_BYTES_MAX,
        )
        if answer.status == HTTPStatus.OK:
            return messages.bill(answer.body, answer.headers)
        try:
            code = answers.optional_text(answers.decode_object(answer.body), "code")
        except answers.Malformed as error:
            raise ChannelUnavailable(f"HTTP {answer.status}: {error}") from error
        if code == "BILL_NOT_READY":
            raise BillNotReady(f"the bill of {business_date.isoformat()} is not ready")
        raise ChannelUnavailable(f"HTTP {answer.status} {code}")

    async def balance(self) -> Balance:
        """What the account may pay out."""
        answer = await self._ask("/balance", timeout_s=self._timeout_s)
        try:
            fields = answers.decode_object(answer.body)
            return Balance(
                currency=answers.text(fields, "currency"),
                available_minor=answers.amount(fields, "available"),
            )
        except answers.Malformed as error:
            raise ChannelUnavailable(f"HTTP {answer.status}: {error}") from error

    async def _query(self, subject: Subject, collection: str, out_ref: str) -> Outcome:
        target = f"/{collection}/{quote(out_ref, safe='')}"
        return await self._order(Operation.QUERY, subject, out_ref, target)

    async def _order(
        self, operation: Operation, subject: Subject, out_ref: str, target: str, body: bytes = b""
    ) -> Outcome:
        method = "GET" if operation is Operation.QUERY else "POST"
        answer = await self._call(method, target, body, timeout_s=self._timeout_s)
        fields = answers.decode_object(answer.body)
        if answer.status == HTTPStatus.OK:
            answered, outcome = messages.outcome(subject, fields)
            answers.check_reference(answered, asked=out_ref)
            return outcome
        code = answers.optional_text(fields, "code")
        return Outcome(
            kind=classify.error(operation, answer.status, code),
            code=code or f"HTTP_{answer.status}",
            message=answers.optional_text(fields, "message"),
        )

    async def _ask(
        self, target: str, *, timeout_s: float, answer_bytes_max: int = http.ANSWER_BYTES_MAX
    ) -> http.HttpAnswer:
        try:
            return await self._call(
                "GET", target, timeout_s=timeout_s, answer_bytes_max=answer_bytes_max
            )
        except answers.SignatureInvalid as error:
            raise ChannelUnavailable(str(error), field=error.field) from error
        except (http.NotSent, http.NoAnswer, answers.ServerFault) as error:
            raise ChannelUnavailable(str(error)) from error

    async def _call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        answer_bytes_max: int = http.ANSWER_BYTES_MAX,
    ) -> http.HttpAnswer:
        """Raises NotSent, NoAnswer, ServerFault, SignatureInvalid."""
        now = self._clock.now()
        timestamp, nonce = str(int(now.timestamp())), self._new_nonce()
        message = signing.request_message(method, self._base_path + target, timestamp, nonce, body)
        answer = await self._http.send(
            method,
            self._base_url + target,
            headers={
                "Content-Type": "application/json",
                "User-Agent": "fisc",
                "X-Sim-Timestamp": timestamp,
                "X-Sim-Nonce": nonce,
                "X-Sim-Signature": signing.sign(self._secret, message),
            },
            body=body,
            timeout_s=timeout_s,
            answer_bytes_max=answer_bytes_max,
        )
        if answer.status >= classify.SERVER_FAULT_MIN:
            raise answers.ServerFault(answer.status)
        signing.verify(
            secret=self._secret, headers=answer.headers, body=answer.body, now=self._clock.now()
        )
        return answer
