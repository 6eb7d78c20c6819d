"""WeChat Pay v3 notifications: verified over the raw bytes first, then opened, then read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.gateway.channels import answers
from services.gateway.channels.answers import Malformed, SignatureInvalid
from services.gateway.channels.wechat import messages, signing
from services.gateway.domain.channel import (
    Callback,
    CallbackAck,
    CallbackMalformed,
    CallbackSignatureInvalid,
)

ALGORITHM = "AEAD_AES_256_GCM"
BODY_BYTES_MAX = 64 * 1024
MESSAGE_LENGTH_MAX = 64


def parse(
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    key: RSAPublicKey,
    key_id: str,
    apiv3_key: bytes,
    mchid: str,
) -> Callback:
    """The notification's content. Raises CallbackSignatureInvalid or CallbackMalformed."""
    if len(body) > BODY_BYTES_MAX:
        raise CallbackMalformed(f"the body is longer than {BODY_BYTES_MAX} bytes", field="body")
    try:
        signing.verify(
            key=key, key_id=key_id, headers=answers.lower_names(headers), body=body, now=now
        )
        return _read(body, apiv3_key=apiv3_key, mchid=mchid)
    except SignatureInvalid as error:
        raise CallbackSignatureInvalid(str(error), field=error.field) from error
    except Malformed as error:
        raise CallbackMalformed(str(error), field=error.field or "body") from error


def _read(body: bytes, *, apiv3_key: bytes, mchid: str) -> Callback:
    envelope = answers.decode_object(body)
    event_id = answers.text(envelope, "id")
    kind = _kind(answers.text(envelope, "event_type"))
    resource = answers.child(envelope, "resource")
    if answers.text(resource, "algorithm") != ALGORITHM:
        raise Malformed(f"only {ALGORITHM} is supported", field="resource.algorithm")
    content = answers.decode_object(
        signing.decrypt(
            apiv3_key,
            nonce=answers.text(resource, "nonce"),
            ciphertext=answers.text(resource, "ciphertext"),
            associated_data=answers.optional_text(resource, "associated_data"),
        )
    )
    if kind == "payment":
        out_ref, outcome = messages.trade(content, mchid=mchid)
    else:
        if answers.text(content, "mchid") != mchid:
            raise Malformed("the refund belongs to another merchant", field="mchid")
        out_ref, outcome = messages.refund(content)
    return Callback(event_id=event_id, kind=kind, out_ref=out_ref, outcome=outcome)


def _kind(event_type: str) -> Literal["payment", "refund"]:
    match event_type.partition(".")[0]:
        case "TRANSACTION":
            return "payment"
        case "REFUND":
            return "refund"
        case _:
            raise Malformed(f"event type {event_type} is not expected here", field="event_type")


def acknowledge(*, ok: bool, message: str) -> CallbackAck:
    """200 without a body, or 400 with the reason: WeChat delivers again after any 4xx or 5xx."""
    if ok:
        return CallbackAck(status=200, content_type="application/json", body=b"")
    reason = message[:MESSAGE_LENGTH_MAX] or "FAIL"
    return CallbackAck(
        status=400,
        content_type="application/json",
        body=orjson.dumps({"code": "FAIL", "message": reason}),
    )
