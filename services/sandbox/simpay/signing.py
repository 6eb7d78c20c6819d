"""Simpay's signatures: hex HMAC-SHA256 with the account's secret, both ways."""

import hashlib
import hmac
import secrets
import time


def sign(secret: str, *parts: str, body: bytes) -> str:
    """Hex HMAC-SHA256 over the parts and the body, joined by line feeds."""
    message = "\n".join(parts).encode() + b"\n" + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def headers(secret: str, body: bytes) -> dict[str, str]:
    """The headers that sign an answer or a callback of simpay."""
    timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
    return {
        "X-Sim-Timestamp": timestamp,
        "X-Sim-Nonce": nonce,
        "X-Sim-Signature": sign(secret, timestamp, nonce, body=body),
    }
