"""Alipay's notifications: forms, verified over the decoded pairs first, then checked for us, then read."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, parse_qsl

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.gateway.channels import answers
from services.gateway.channels.alipay import messages, signing, values
from services.gateway.channels.answers import Malformed, SignatureInvalid
from services.gateway.domain.channel import (
    Callback,
    CallbackAck,
    CallbackMalformed,
    CallbackSignatureInvalid,
    Outcome,
    OutcomeKind,
)

BODY_BYTES_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 128
TRADE_NOTICE: Final = "trade_status_sync"
TRANSFER_NOTICE: Final = "alipay.fund.trans.order.changed"
_ACCEPTED: Final = b"success"
_REFUSED: Final = b"fail"


def parse(body: bytes, *, keys: Sequence[RSAPublicKey], app_id: str, seller_id: str) -> Callback:
    """The notification's content. Raises CallbackSignatureInvalid or CallbackMalformed.

    `seller_id` may be empty: then any account of the application's may be the seller.
    """
    try:
        form = read_form(body)
        codec = signing.encoding(form.get("charset", ""))
        _verify(form, keys=keys, codec=codec)
        return _read(form, app_id=app_id, seller_id=seller_id)
    except SignatureInvalid as error:
        raise CallbackSignatureInvalid(str(error), field=error.field) from error
    except Malformed as error:
        raise CallbackMalformed(str(error), field=error.field or "body") from error


def read_form(body: bytes) -> dict[str, str]:
    """The pairs of a form in the encoding that it names itself. Raises Malformed.

    A name may come once: whatever is signed must be what is read.
    """
    if len(body) > BODY_BYTES_MAX:
        raise Malformed(f"the body is longer than {BODY_BYTES_MAX} bytes", field="body")
    try:
        text = body.decode("ascii")
        charset = parse_qs(text, max_num_fields=FIELDS_MAX).get("charset", [""])[0]
        codec = signing.encoding(charset)
        pairs = parse_qsl(
            text, keep_blank_values=True, encoding=codec, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError as error:
        raise Malformed("not a form", field="body") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Malformed("a name stands there twice", field="body")
    return form


def _verify(form: Mapping[str, str], *, keys: Sequence[RSAPublicKey], codec: str) -> None:
    if form.get("sign_type", "") != signing.SIGN_TYPE:
        raise SignatureInvalid("the signature type is not supported", field="sign_type")
    signature = form.get("sign", "")
    if not signature:
        raise SignatureInvalid("the notification is not signed", field="sign")
    try:
        content = signing.notice_content(form).encode(codec)
    except UnicodeEncodeError as error:
        raise Malformed("not what its charset can say", field="charset") from error
    signing.verify(keys, content, signature)


def _read(form: Mapping[str, str], *, app_id: str, seller_id: str) -> Callback:
    if answers.text(form, "app_id") != app_id:
        raise Malformed("the notification is for another application", field="app_id")
    event_id = answers.text(form, "notify_id")
    if answers.optional_text(form, "msg_method"):
        return _transfer(form, event_id)
    if answers.text(form, "notify_type") != TRADE_NOTICE:
        raise Malformed("this kind of notification is not expected here", field="notify_type")
    if seller_id and answers.text(form, "seller_id") != seller_id:
        raise Malformed("the trade belongs to another merchant", field="seller_id")
    request_no = answers.optional_text(form, "out_biz_no")
    if request_no and answers.optional_text(form, "gmt_refund"):
        return Callback(
            event_id=event_id, kind="refund", out_ref=request_no, outcome=_refunded(form)
        )
    out_ref, outcome = messages.trade(form, paid_field="gmt_payment")
    return Callback(event_id=event_id, kind="payment", out_ref=out_ref, outcome=outcome)


def _refunded(form: Mapping[str, str]) -> Outcome:
    """`refund_fee` is the sum of all refunds of the trade, so the amount of this one is not told."""
    return Outcome(
        kind=OutcomeKind.SUCCEEDED,
        provider_ref=answers.optional_text(form, "trade_no"),
        code="REFUND_SUCCESS",
        paid_at=values.optional_instant(form, "gmt_refund"),
    )


def _transfer(form: Mapping[str, str], event_id: str) -> Callback:
    if form["msg_method"] != TRANSFER_NOTICE:
        raise Malformed("this kind of message is not expected here", field="msg_method")
    content = answers.decode_object(answers.text(form, "biz_content").encode())
    out_ref, outcome = messages.transfer(content)
    return Callback(event_id=event_id, kind="payout", out_ref=out_ref, outcome=outcome)


def acknowledge(*, ok: bool) -> CallbackAck:
    """Alipay reads the body alone: exactly `success`, or it delivers again for about a day."""
    body = _ACCEPTED if ok else _REFUSED
    return CallbackAck(status=200, content_type="text/plain", body=body)
