"""The envelope of CMB's messages: canonical JSON, SM2 signature inside, SM4 around it.

What is signed is the message with a literal in the place of the signature, its keys sorted at every level and no
spaces. Numbers are kept as they were written: `1.00` must not become `1.0` before it is verified.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote_plus

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from libs import sm2
from services.gateway.channels.answers import Malformed, SignatureInvalid

BLOCK_BYTES: Final = 16
DEPTH_MAX: Final = 24
# Stands where the signature will be while the message is signed.
PLACEHOLDER: Final = "__signature_sigdat__"
TIME_FORMAT: Final = "%Y%m%d%H%M%S"
ALGORITHM: Final = "SM"
_TRANSPORT_ERROR: Final = (b"CDCServer:", b"ErrMsg:")
_LITERALS: Final = {True: "true", False: "false", None: "null"}

Json = dict[str, object]


class Number(str):
    """A number as it stood in the text."""

    __slots__ = ()


class TransportRefused(Exception):
    """The bank's front refused the call before it read it: an address not listed, a user unknown."""


def identifier(user_id: str) -> bytes:
    """What a signature names its signer by, and SM4 starts from: the user id, filled up with "0"."""
    return user_id.encode().ljust(BLOCK_BYTES, b"0")[:BLOCK_BYTES]


def canonical(value: object, depth: int = 0) -> str:
    """The text that is signed. Raises Malformed for what nests too deep."""
    if depth > DEPTH_MAX:
        raise Malformed("the message nests too deep")
    if isinstance(value, Mapping):
        members = (f"{_text(key)}:{canonical(value[key], depth + 1)}" for key in sorted(value))
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(canonical(each, depth + 1) for each in value)}]"
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return _LITERALS[value]
    if isinstance(value, int):
        return str(value)
    raise TypeError(type(value).__name__)


def _text(value: str) -> str:
    # Two line ends that JSON allows and JavaScript did not: escaped by the library that banks and clients use.
    escaped = json.dumps(value, ensure_ascii=False)
    return escaped.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def seal(
    content: Json, *, user_id: str, key: sm2.PrivateKey, cipher_key: bytes, signed_at: datetime
) -> str:
    """Sign and encrypt; the result is base64."""
    signature = {"sigdat": PLACEHOLDER, "sigtim": signed_at.strftime(TIME_FORMAT)}
    name = identifier(user_id)
    raw = key.sign(canonical(content | {"signature": signature}).encode(), name)
    signature["sigdat"] = base64.b64encode(raw).decode()
    signed = canonical(content | {"signature": signature})
    padder = padding.PKCS7(BLOCK_BYTES * 8).padder()
    padded = padder.update(signed.encode()) + padder.finalize()
    encryptor = _cipher(cipher_key, name).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def form(function: str, user_id: str, data: str) -> bytes:
    """The body of a request."""
    fields = {"ALG": ALGORITHM, "DATA": data, "FUNCODE": function, "UID": user_id}
    return "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items()).encode()


def open_answer(body: bytes, *, user_id: str, key: sm2.PublicKey, cipher_key: bytes) -> Json:
    """Decrypt, verify, decode. Raises TransportRefused, SignatureInvalid, Malformed."""
    if all(mark in body for mark in _TRANSPORT_ERROR):
        said = body.decode("utf-8", "replace").partition("ErrMsg:")[2]
        raise TransportRefused(said.strip()[:200] or "no reason given")
    name = identifier(user_id)
    content = decode(_decrypt(body, cipher_key, name))
    signature = content.get("signature")
    given = signature.get("sigdat") if isinstance(signature, dict) else None
    if not isinstance(signature, dict) or not isinstance(given, str):
        raise SignatureInvalid("the answer is not signed", field="sigdat")
    unsigned = content | {"signature": signature | {"sigdat": PLACEHOLDER}}
    try:
        raw = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureInvalid("the signature is not base64", field="sigdat") from error
    if not key.verify(raw, canonical(unsigned).encode("utf-8", "surrogatepass"), name):
        raise SignatureInvalid("the signature does not fit the answer", field="sigdat")
    return content


def decode(plain: bytes) -> Json:
    """A JSON object with each key once, numbers as written. Raises Malformed."""
    try:
        value = json.loads(
            plain,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _decrypt(body: bytes, cipher_key: bytes, name: bytes) -> bytes:
    try:
        sealed = base64.b64decode(b"".join(body.split()), validate=True)
        decryptor = _cipher(cipher_key, name).decryptor()
        padded = decryptor.update(sealed) + decryptor.finalize()
        unpadder = padding.PKCS7(BLOCK_BYTES * 8).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except (binascii.Error, ValueError) as error:
        # Nothing that our key cannot open was said to us.
        raise SignatureInvalid("the answer cannot be opened", field="DATA") from error


def _cipher(key: bytes, start: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.SM4(key), modes.CBC(start))
