"""Simpay signatures: hex HMAC-SHA256 under a shared secret, lines joined by a line feed."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from services.gateway.channels.answers import SignatureInvalid, check_timestamp, header


def request_message(method: str, target: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """The bytes a request's signature covers; `target` is path and query as the server sees it."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body


def answer_message(timestamp: str, nonce: str, body: bytes) -> bytes:
    """The bytes the signature of an answer or a notification covers."""
    return f"{timestamp}\n{nonce}\n".encode() + body


def sign(secret: bytes, message: bytes) -> str:
    """The signature of a message."""
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def verify(*, secret: bytes, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Raise SignatureInvalid unless simpay signed exactly `body` within five minutes of `now`.

    `headers` have lower-case names.
    """
    signature = header(headers, "X-Sim-Signature")
    timestamp = header(headers, "X-Sim-Timestamp")
    nonce = header(headers, "X-Sim-Nonce")
    check_timestamp(timestamp, now=now, field="X-Sim-Timestamp")
    expected = sign(secret, answer_message(timestamp, nonce, body))
    if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
        raise SignatureInvalid("the signature does not fit the body", field="X-Sim-Signature")
