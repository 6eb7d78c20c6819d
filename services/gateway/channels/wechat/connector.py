"""The WeChat Pay connector: signs, sends, verifies, and says what it means."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from libs.clock import Clock
from services.gateway.channels import answers, http
from services.gateway.channels.wechat import bills, callbacks, classify, messages, signing
from services.gateway.channels.wechat.classify import Operation
from services.gateway.domain.channel import (
    Balance,
    BillFile,
    BillNotReady,
    Callback,
    CallbackAck,
    CaptureOrder,
    ChannelMisconfigured,
    ChannelUnavailable,
    ChannelUnsupported,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)

BILL_TIMEOUT_S = 60.0
# Signing takes milliseconds and releases the interpreter lock; two threads keep two cores busy.
SIGNING_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """A merchant's keys, loaded."""

    mchid: str
    appid: str
    apiv3_key: bytes
    merchant_serial: str
    merchant_key: RSAPrivateKey
    platform_key: RSAPublicKey
    platform_key_id: str


def load_credentials(values: Mapping[str, str]) -> Credentials:
    """Load and check credentials as they are stored. Raises ChannelMisconfigured."""

    def value(name: str) -> str:
        found = values.get(name, "")
        if not found:
            raise ChannelMisconfigured(f"the credential {name} is missing", field=name)
        return found

    try:
        merchant_key = load_pem_private_key(value("merchant_private_key_pem").encode(), None)
        platform_key = load_pem_public_key(value("platform_public_key_pem").encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ChannelMisconfigured("a key of the channel is not readable PEM") from error
    if not isinstance(merchant_key, RSAPrivateKey) or not isinstance(platform_key, RSAPublicKey):
        raise ChannelMisconfigured("a key of the channel is not RSA")
    apiv3_key = value("apiv3_key").encode()
    if len(apiv3_key) != signing.APIV3_KEY_BYTES:
        raise ChannelMisconfigured(
            f"apiv3_key is not {signing.APIV3_KEY_BYTES} bytes", field="apiv3_key"
        )
    return Credentials(
        mchid=value("mchid"),
        appid=value("appid"),
        apiv3_key=apiv3_key,
        merchant_serial=value("merchant_serial"),
        merchant_key=merchant_key,
        platform_key=platform_key,
        platform_key_id=value("platform_public_key_id"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """A verified answer; `fields` are empty for 204."""

    status: int
    fields: Mapping[str, object]

    @property
    def ok(self) -> bool:
        return self.status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT)

    @property
    def code(self) -> str:
        return answers.optional_text(self.fields, "code")

    @property
    def message(self) -> str:
        return answers.optional_text(self.fields, "message")


class WechatConnector:
    """A direct merchant at WeChat Pay. Implements `Connector`, but for captures, payouts, balances."""

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
        self._base_url = base_url
        self._keys = load_credentials(credentials)
        self._http = http
        self._clock = clock
        self._new_nonce = new_nonce
        self._timeout_s = timeout_s
        self._signers = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="wechat-sign")

    async def charge(self, order: ChargeOrder) -> Outcome:
        """Create a native order; the outcome is PENDING with the content of the QR code.

        A native order cannot be captured later.
        """
        if order.capture_later:
            raise ChannelUnsupported("WeChat Pay takes money at once", out_ref=order.out_ref)
        return await answers.settle(self._charge(order), not_sent=OutcomeKind.DECLINED_SOFT)

    async def query(self, order: SentOrder) -> Outcome:
        """Ask for an order's state."""
        return await answers.settle(self._query(order.out_ref))

    async def close(self, order: SentOrder) -> Outcome:
        """Close an order; if it was paid, answer what a query says."""
        return await answers.settle(self._close(order.out_ref))

    async def capture(self, order: CaptureOrder) -> Outcome:
        """Not offered."""
        raise ChannelUnsupported("WeChat Pay takes money at once", out_ref=order.out_ref)

    async def query_capture(self, order: SentOrder) -> Outcome:
        """Not offered."""
        raise ChannelUnsupported("WeChat Pay takes money at once", out_ref=order.out_ref)

    async def refund(self, order: RefundOrder) -> Outcome:
        """Create a refund, or get the state of the one with this number."""
        return await answers.settle(
            self._refund(
                Operation.REFUND,
                order.out_ref,
                method="POST",
                target=messages.REFUNDS,
                body=messages.refund_body(order),
            )
        )

    async def query_refund(self, order: SentOrder) -> Outcome:
        """Ask for a refund's state."""
        return await answers.settle(
            self._refund(
                Operation.QUERY_REFUND,
                order.out_ref,
                method="GET",
                target=messages.refund_target(order.out_ref),
            )
        )

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Not offered."""
        raise ChannelUnsupported("WeChat Pay payouts are not connected", out_ref=order.out_ref)

    async def query_payout(self, order: SentOrder) -> Outcome:
        """Not offered."""
        raise ChannelUnsupported("WeChat Pay payouts are not connected", out_ref=order.out_ref)

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        """Verify, open and read a notification."""
        return callbacks.parse(
            headers,
            body,
            now=now,
            key=self._keys.platform_key,
            key_id=self._keys.platform_key_id,
            apiv3_key=self._keys.apiv3_key,
            mchid=self._keys.mchid,
        )

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        """The answer WeChat expects to a notification."""
        return callbacks.acknowledge(ok=ok, message=message)

    async def balance(self) -> Balance:
        """Not offered."""
        raise ChannelUnsupported("WeChat Pay balances are not connected")

    async def fetch_bill(self, business_date: date) -> BillFile:
        """The day's trade bill of all transactions; a day without any is an empty bill."""
        try:
            return await self._fetch_bill(business_date)
        except (http.NotSent, http.NoAnswer, answers.ServerFault) as error:
            raise ChannelUnavailable(str(error)) from error
        except (answers.SignatureInvalid, answers.Malformed) as error:
            raise ChannelUnavailable(str(error), field=error.field or None) from error

    async def _charge(self, order: ChargeOrder) -> Outcome:
        body = messages.charge_body(order, appid=self._keys.appid, mchid=self._keys.mchid)
        answer = await self._call("POST", messages.NATIVE, body)
        if answer.ok:
            return messages.created(answer.fields)
        return _refused(Operation.CHARGE, answer)

    async def _query(self, out_ref: str) -> Outcome:
        answer = await self._call("GET", messages.order_target(out_ref, self._keys.mchid))
        if not answer.ok:
            return _refused(Operation.QUERY, answer)
        answered, outcome = messages.trade(answer.fields, mchid=self._keys.mchid)
        answers.check_reference(answered, asked=out_ref)
        return outcome

    async def _close(self, out_ref: str) -> Outcome:
        body = messages.close_body(mchid=self._keys.mchid)
        answer = await self._call("POST", messages.close_target(out_ref), body)
        if answer.ok:
            return Outcome(kind=OutcomeKind.CLOSED)
        if answer.code == "ORDERPAID":
            return await self._query(out_ref)
        return _refused(Operation.CLOSE, answer)

    async def _refund(
        self, operation: Operation, out_ref: str, *, method: str, target: str, body: bytes = b""
    ) -> Outcome:
        answer = await self._call(method, target, body)
        if not answer.ok:
            return _refused(operation, answer)
        answered, outcome = messages.refund(answer.fields)
        answers.check_reference(answered, asked=out_ref)
        return outcome

    async def _fetch_bill(self, business_date: date) -> BillFile:
        answer = await self._call("GET", bills.announce_target(business_date))
        if answer.code == bills.NO_STATEMENT:
            return bills.EMPTY
        if answer.code == bills.STATEMENT_CREATING:
            raise BillNotReady(answer.message, retry_after_s=bills.STATEMENT_RETRY_S)
        if not answer.ok:
            raise ChannelUnavailable(f"HTTP {answer.status} {answer.code} {answer.message}")
        hash_type, hash_value, download_url = bills.announced(answer.fields)
        target = bills.download_target(download_url, self._base_url)
        # Downloads are the one answer that carries no signature; the announced hash proves it.
        file = await self._send(
            "GET", target, timeout_s=BILL_TIMEOUT_S, answer_bytes_max=bills.BILL_BYTES_MAX
        )
        if file.status != HTTPStatus.OK:
            raise ChannelUnavailable(f"HTTP {file.status} at the download of the bill")
        return await asyncio.to_thread(
            bills.check, file.body, hash_type=hash_type, hash_value=hash_value
        )

    async def _call(self, method: str, target: str, body: bytes = b"") -> _Answer:
        """Raises NotSent, NoAnswer, ServerFault, SignatureInvalid, Malformed."""
        answer = await self._send(method, target, body, timeout_s=self._timeout_s)
        if answer.status >= classify.SERVER_FAULT_MIN:
            raise answers.ServerFault(answer.status)
        signing.verify(
            key=self._keys.platform_key,
            key_id=self._keys.platform_key_id,
            headers=answer.headers,
            body=answer.body,
            now=self._clock.now(),
        )
        fields = answers.decode_object(answer.body) if answer.body else {}
        return _Answer(status=answer.status, fields=fields)

    async def _send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        answer_bytes_max: int = http.ANSWER_BYTES_MAX,
    ) -> http.HttpAnswer:
        timestamp, nonce = str(int(self._clock.now().timestamp())), self._new_nonce()
        message = signing.request_message(method, target, timestamp, nonce, body)
        signature = await asyncio.get_running_loop().run_in_executor(
            self._signers, signing.sign, self._keys.merchant_key, message
        )
        headers = {
            "Accept": "application/json",
            "Authorization": signing.authorization(
                mchid=self._keys.mchid,
                serial=self._keys.merchant_serial,
                nonce=nonce,
                timestamp=timestamp,
                signature=signature,
            ),
            "Content-Type": "application/json",
            "User-Agent": "fisc",
            "Wechatpay-Serial": self._keys.platform_key_id,
        }
        return await self._http.send(
            method,
            self._base_url + target,
            headers=headers,
            body=body,
            timeout_s=timeout_s,
            answer_bytes_max=answer_bytes_max,
        )


def _refused(operation: Operation, answer: _Answer) -> Outcome:
    kind = classify.error(operation, answer.status, answer.code)
    return Outcome(kind=kind, code=answer.code or f"HTTP_{answer.status}", message=answer.message)
