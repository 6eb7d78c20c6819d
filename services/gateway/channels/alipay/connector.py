"""The Alipay connector: which call serves which order, and what its answer means."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from libs.clock import Clock
from services.gateway.channels import answers, http
from services.gateway.channels.alipay import (
    bills,
    callbacks,
    classify,
    keys,
    messages,
    requests,
    royalties,
    values,
)
from services.gateway.channels.alipay.classify import Operation
from services.gateway.channels.alipay.client import Answer, Client, form_url
from services.gateway.channels.alipay.messages import Content
from services.gateway.channels.alipay.royalties import Receiver, SplitOrder
from services.gateway.domain.channel import (
    Balance,
    BillFile,
    BillNotReady,
    Callback,
    CallbackAck,
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
from services.gateway.domain.next_action import CallSdk, SubmitForm

BILL_TIMEOUT_S = 60.0
TAKES_AT_ONCE = "Alipay takes money at once"


class AlipayConnector:
    """A direct merchant at Alipay. Implements `Connector`, but for captures; and royalties besides."""

    def __init__(
        self,
        *,
        gateway_url: str,
        credentials: Mapping[str, str],
        http: http.ChannelHttp,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._gateway_url = gateway_url
        self._keys = keys.load(credentials, now=clock.now())
        self._splits = credentials.get("royalty_freeze", "") == "true"
        self._clock = clock
        self._client = Client(
            gateway_url=gateway_url, keys=self._keys, http=http, clock=clock, timeout_s=timeout_s
        )

    async def charge(self, order: ChargeOrder) -> Outcome:
        """Create the trade, or the signed form or order string with which the payer does."""
        method = messages.CALLS.get(order.method)
        if method is None or order.capture_later:
            raise ChannelUnsupported(
                TAKES_AT_ONCE if method else f"Alipay does not serve {order.method}",
                out_ref=order.out_ref,
            )
        _check_currency(order.currency, order.out_ref)
        if method in (messages.PAGE_PAY, messages.WAP_PAY, messages.APP_PAY):
            return await self._hand_out(method, order)
        return await answers.settle(self._charge(method, order), not_sent=OutcomeKind.DECLINED_SOFT)

    async def query(self, order: SentOrder) -> Outcome:
        """Ask for a trade's state."""
        return await answers.settle(self._query(order))

    async def close(self, order: SentOrder) -> Outcome:
        """Close a trade; if it was paid, answer what a query says.

        A payment by code that Alipay does not know yet is cancelled, since it may still be on its way:
        should its payer be charged, Alipay gives the money back.
        """
        return await answers.settle(self._close(order))

    async def capture(self, order: CaptureOrder) -> Outcome:
        """Not offered."""
        raise ChannelUnsupported(TAKES_AT_ONCE, out_ref=order.out_ref)

    async def query_capture(self, order: SentOrder) -> Outcome:
        """Not offered."""
        raise ChannelUnsupported(TAKES_AT_ONCE, out_ref=order.out_ref)

    async def refund(self, order: RefundOrder) -> Outcome:
        """Create a refund; where this call moved nothing, answer what a query says."""
        return await answers.settle(self._refund(order))

    async def query_refund(self, order: SentOrder) -> Outcome:
        """Ask for a refund's state."""
        payment = _payment_of(order)
        return await answers.settle(self._query_refund(order.out_ref, payment.out_ref))

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Transfer into a wallet or onto a bank card. Only in certificate mode."""
        self._check_certificates(order.out_ref)
        _check_currency(order.currency, order.out_ref)
        return await answers.settle(
            self._transfer(
                Operation.PAYOUT,
                order.out_ref,
                messages.TRANSFER,
                messages.transfer_content(order),
                notify_url=order.notify_url,
            )
        )

    async def query_payout(self, order: SentOrder) -> Outcome:
        """Ask for a transfer's state."""
        self._check_certificates(order.out_ref)
        return await answers.settle(
            self._transfer(
                Operation.QUERY_PAYOUT,
                order.out_ref,
                messages.QUERY_TRANSFER,
                messages.transfer_key(order.out_ref, order.method),
            )
        )

    async def bind(self, out_ref: str, receivers: Sequence[Receiver], *, bound: bool) -> Outcome:
        """Let the receivers have shares of our trades, or no longer. Idempotent."""
        method = royalties.BIND if bound else royalties.UNBIND
        content = royalties.relation_content(out_ref, receivers)
        return await answers.settle(self._bind(method, content))

    async def split(self, order: SplitOrder) -> Outcome:
        """Divide a paid trade. Idempotent by `out_ref`: after UNKNOWN send the same again."""
        return await answers.settle(self._split(order))

    async def query_split(self, out_ref: str, trade_no: str) -> Outcome:
        """Ask for a division's state."""
        return await answers.settle(self._query_split(out_ref, trade_no))

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        """Verify and read a notification."""
        del headers, now  # all that counts is in the form; it is delivered for a day
        return callbacks.parse(
            body,
            keys=self._keys.trusted,
            app_id=self._keys.app_id,
            seller_id=self._keys.seller_id,
        )

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        """The answer Alipay expects to a notification."""
        del message  # it would only be read as "not success"
        return callbacks.acknowledge(ok=ok)

    async def balance(self) -> Balance:
        """What the account may pay out. Only in certificate mode, and where the account is known."""
        if not (self._keys.is_certificate_mode and self._keys.seller_id):
            raise ChannelUnsupported("balances need certificates and the seller_id")
        content: Content = {
            "alipay_user_id": self._keys.seller_id,
            "account_type": "ACCTRANS_ACCOUNT",
        }
        try:
            answer = await self._client.call(messages.QUERY_ACCOUNT, content)
            if not answer.is_done:
                raise ChannelUnavailable(f"{answer.reason} {answer.message}")
            return Balance(
                currency=values.CURRENCY,
                available_minor=values.amount(answer.fields, "available_amount"),
            )
        except _NO_WORD as error:
            raise ChannelUnavailable(str(error)) from error

    async def fetch_bill(self, business_date: date) -> BillFile:
        """The day's bills of trades and of the balance, one after the other."""
        try:
            parts = [await self._fetch_bill(kind, business_date) for kind in bills.BILL_TYPES]
        except _NO_WORD as error:
            raise ChannelUnavailable(str(error)) from error
        found = [part for part in parts if part]
        if found:
            return bills.together(found)
        if not bills.is_due(business_date, self._clock.now()):
            raise BillNotReady("Alipay has no bill of the day yet", retry_after_s=bills.RETRY_S)
        return bills.EMPTY

    async def _hand_out(self, method: str, order: ChargeOrder) -> Outcome:
        content = messages.charge_content(
            method, order, app_id=self._keys.app_id, splits=self._splits
        )
        return_url = "" if method == messages.APP_PAY else order.return_url
        signed = await self._client.signed(
            method, content, notify_url=order.notify_url, return_url=return_url
        )
        if method == messages.APP_PAY:
            string = requests.order_string(signed)
            return Outcome(
                kind=OutcomeKind.PENDING, next_action=CallSdk(parameters={"orderStr": string})
            )
        form = SubmitForm(url=form_url(self._gateway_url), fields=requests.fields(signed))
        return Outcome(kind=OutcomeKind.PENDING, next_action=form)

    async def _charge(self, method: str, order: ChargeOrder) -> Outcome:
        content = messages.charge_content(
            method, order, app_id=self._keys.app_id, splits=self._splits
        )
        answer = await self._client.call(method, content, notify_url=order.notify_url)
        if answer.is_done and method == messages.PAY:
            answered, outcome = messages.code_paid(answer.fields)
        elif answer.is_done or answer.code == classify.PAYER_MUST_ACT:
            answered, outcome = messages.created(method, answer.fields)
        else:
            return _refused(Operation.CHARGE, answer)
        answers.check_reference(answered, asked=order.out_ref)
        return outcome

    async def _query(self, order: SentOrder) -> Outcome:
        answer = await self._client.call(messages.QUERY, messages.trade_key(order.out_ref))
        if answer.is_done:
            answered, outcome = messages.trade(answer.fields, paid_field="send_pay_date")
            answers.check_reference(answered, asked=order.out_ref)
            return outcome
        is_unknown_number = answer.sub_code == classify.TRADE_NOT_EXIST
        if is_unknown_number and messages.CALLS.get(order.method) in messages.MADE_BY_THE_PAYER:
            return messages.not_taken_up()
        return _refused(Operation.QUERY, answer)

    async def _close(self, order: SentOrder) -> Outcome:
        answer = await self._client.call(messages.CLOSE, messages.trade_key(order.out_ref))
        if answer.is_done:
            return Outcome(kind=OutcomeKind.CLOSED)
        if answer.sub_code in classify.CLOSED_TOO_LATE:
            return await self._query(order)
        is_unknown_number = answer.sub_code == classify.TRADE_NOT_EXIST
        if is_unknown_number and messages.CALLS.get(order.method) == messages.PAY:
            return await self._cancel(order.out_ref)
        return _refused(Operation.CLOSE, answer)

    async def _cancel(self, out_ref: str) -> Outcome:
        answer = await self._client.call(messages.CANCEL, messages.trade_key(out_ref))
        if not answer.is_done:
            return _refused(Operation.CANCEL, answer)
        return messages.cancelled(answer.fields)

    async def _refund(self, order: RefundOrder) -> Outcome:
        content = messages.refund_content(order)
        # Refunds are told to where their trade's payment was.
        answer = await self._client.call(messages.REFUND, content)
        if not answer.is_done:
            return _refused(Operation.REFUND, answer)
        moved = messages.refunded(answer.fields)
        return moved or await self._query_refund(order.out_ref, order.payment.out_ref)

    async def _query_refund(self, out_ref: str, payment_out_ref: str) -> Outcome:
        content = messages.refund_key(out_ref, payment_out_ref)
        answer = await self._client.call(messages.QUERY_REFUND, content)
        if not answer.is_done:
            return _refused(Operation.QUERY_REFUND, answer)
        return messages.refund(answer.fields, out_ref=out_ref)

    async def _transfer(
        self,
        operation: Operation,
        out_ref: str,
        method: str,
        content: Content,
        *,
        notify_url: str = "",
    ) -> Outcome:
        # Where the application has a message address of its own, set at Alipay, that one is told instead.
        answer = await self._client.call(method, content, notify_url=notify_url)
        if not answer.is_done:
            return _refused(operation, answer)
        answered, outcome = messages.transfer(answer.fields)
        answers.check_reference(answered, asked=out_ref)
        return outcome

    async def _bind(self, method: str, content: Content) -> Outcome:
        answer = await self._client.call(method, content)
        if not answer.is_done:
            return _refused(Operation.RELATION, answer)
        return royalties.related(answer.fields)

    async def _split(self, order: SplitOrder) -> Outcome:
        answer = await self._client.call(royalties.SETTLE, royalties.settle_content(order))
        if not answer.is_done:
            return _refused(Operation.SPLIT, answer)
        return royalties.settled(answer.fields)

    async def _query_split(self, out_ref: str, trade_no: str) -> Outcome:
        content = royalties.settle_key(out_ref, trade_no)
        answer = await self._client.call(royalties.QUERY_SETTLE, content)
        if not answer.is_done:
            return _refused(Operation.QUERY_SPLIT, answer)
        return royalties.settlement(answer.fields)

    async def _fetch_bill(self, bill_type: str, business_date: date) -> bytes:
        answer = await self._client.call(
            bills.DOWNLOAD_URL, bills.content(bill_type, business_date)
        )
        if answer.sub_code == classify.BILL_NOT_EXIST:
            return b""
        if answer.sub_code in classify.BILL_TOO_EARLY:
            raise BillNotReady(answer.message, retry_after_s=bills.RETRY_S)
        if not answer.is_done:
            raise ChannelUnavailable(f"{answer.reason} {answer.message}")
        # The address is good for half a minute and is all the proof there is: it carries no signature.
        raw = await self._client.download(
            bills.address(answer.fields, self._gateway_url),
            timeout_s=BILL_TIMEOUT_S,
            bytes_max=bills.ZIP_BYTES_MAX,
        )
        return await asyncio.to_thread(bills.unpack, raw)

    def _check_certificates(self, out_ref: str) -> None:
        if not self._keys.is_certificate_mode:
            raise ChannelUnsupported("Alipay pays out in certificate mode alone", out_ref=out_ref)


_NO_WORD = (
    http.NotSent,
    http.NoAnswer,
    answers.ServerFault,
    answers.SignatureInvalid,
    answers.Malformed,
)


def _refused(operation: Operation, answer: Answer) -> Outcome:
    kind = classify.error(operation, answer.code, answer.sub_code)
    return Outcome(kind=kind, code=answer.reason or "NO_CODE", message=answer.message)


def _check_currency(currency: str, out_ref: str) -> None:
    if currency != values.CURRENCY:
        raise ChannelUnsupported(f"Alipay does not take {currency} here", out_ref=out_ref)


def _payment_of(order: SentOrder) -> SentOrder:
    if order.payment is None:
        raise AssertionError("a refund without the payment that it is of")
    return order.payment
