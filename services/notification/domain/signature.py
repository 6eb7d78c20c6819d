"""Secrets and signatures as Standard Webhooks has them (https://www.standardwebhooks.com).

A secret is "whsec_" and the base64 of the key. A signature is "v1," and the base64 of HMAC-SHA256 over
id.timestamp.body; several, one a secret, stand side by side with a space between.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 -- the public prefix, no secret
KEY_BYTES: Final = 32
# How long the previous secret goes on signing after a rotation.
OVERLAP: Final = timedelta(hours=24)
SECRETS_MAX: Final = 4

HEADER_ID: Final = "webhook-id"
HEADER_TIMESTAMP: Final = "webhook-timestamp"
HEADER_SIGNATURE: Final = "webhook-signature"
_VERSION: Final = "v1"


def make_secret(key: bytes) -> str:
    """The secret of a random key of KEY_BYTES bytes."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return SECRET_PREFIX + base64.b64encode(key).decode()


def sign(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """One signature, with its version."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def headers(secrets: Sequence[str], message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of a message sent now, signed with each secret, the newest first."""
    timestamp_s = int(now.timestamp())
    return {
        HEADER_ID: message_id,
        HEADER_TIMESTAMP: str(timestamp_s),
        HEADER_SIGNATURE: " ".join(sign(each, message_id, timestamp_s, body) for each in secrets),
    }
