"""Alipay's RSA2 signatures, as pure functions over bytes.

Wire format: RSA PKCS#1 v1.5 with SHA-256 over `key=value` pairs joined by `&` and sorted by key, their
values as they were before URL encoding; an answer's signature covers the very characters of the inner
object, so that nothing here is ever serialised again.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from services.gateway.channels.answers import Malformed, SignatureInvalid

SIGN_TYPE: Final = "RSA2"
# Alipay's names of the encodings that it may speak, and ours.
CHARSETS: Final = {"utf-8": "utf-8", "gbk": "gbk", "gb2312": "gbk", "gb18030": "gb18030"}
ERROR_NODE: Final = "error_response"
_SPACE: Final = " \t\r\n"
_decoder = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAnswer:
    """An answer taken apart: `content` is the inner object in the very bytes that were signed.

    `signature` and `certificate_serial` are "" where the answer has none: errors may be unsigned.
    """

    content: bytes
    signature: str
    certificate_serial: str


def request_content(parameters: Mapping[str, str]) -> str:
    """What a request's signature covers: everything that is not empty, but the signature."""
    return _joined({name: value for name, value in parameters.items() if value and name != "sign"})


def notice_content(parameters: Mapping[str, str]) -> str:
    """What a notification's signature covers: all that came but the signature and its type."""
    left_out = ("sign", "sign_type")
    return _joined({name: value for name, value in parameters.items() if name not in left_out})


def _joined(pairs: Mapping[str, str]) -> str:
    return "&".join(f"{name}={pairs[name]}" for name in sorted(pairs))


def sign(key: RSAPrivateKey, content: bytes) -> str:
    """Base64 of the signature. Costs milliseconds of CPU; does not belong on the event loop."""
    return base64.b64encode(key.sign(content, PKCS1v15(), SHA256())).decode()


def verify(keys: Sequence[RSAPublicKey], content: bytes, signature: str) -> None:
    """Raise SignatureInvalid unless one of the keys signed exactly `content`."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureInvalid("the signature is not base64", field="sign") from error
    for key in keys:
        try:
            key.verify(raw, content, PKCS1v15(), SHA256())
        except InvalidSignature:
            continue
        return
    raise SignatureInvalid("the signature does not fit the content", field="sign")


def encoding(charset: str) -> str:
    """The codec of a charset parameter; left out it is UTF-8, as we ask for. Raises Malformed."""
    try:
        return CHARSETS[charset.lower() or "utf-8"]
    except KeyError:
        raise Malformed(
            f"charset {charset[:20]!r} is none that Alipay speaks", field="charset"
        ) from None


def node_of(method: str) -> str:
    """What the inner object of an answer is called."""
    return f"{method.replace('.', '_')}_response"


def take_apart(body: bytes, *, method: str, charset: str = "utf-8") -> SignedAnswer:
    """Find the inner object of an answer, character by character. Raises Malformed.

    What is verified and what is read must be the same bytes, so each name may stand there once.
    """
    codec = encoding(charset)
    try:
        text = body.decode(codec)
        spans = _members(text)
    except UnicodeDecodeError as error:
        raise Malformed(f"not {codec}") from error
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {type(error).__name__}") from error
    nodes = [name for name in (node_of(method), ERROR_NODE) if name in spans]
    if len(nodes) != 1:
        raise Malformed("not exactly one answer", field=method)
    start, end = spans[nodes[0]]
    if text[start] != "{":
        raise Malformed("the answer is not an object", field=nodes[0])
    return SignedAnswer(
        content=text[start:end].encode(codec),
        signature=_text(text, spans, "sign"),
        certificate_serial=_text(text, spans, "alipay_cert_sn"),
    )


def _members(text: str) -> dict[str, tuple[int, int]]:
    """Where the value of each member of the outer object begins and ends. Raises ValueError."""
    spans: dict[str, tuple[int, int]] = {}
    position = _expect(text, 0, "{")
    if text.startswith("}", _skip(text, position)):
        return spans
    while True:
        name, position = _decoder.raw_decode(text, _skip(text, position))
        start = _skip(text, _expect(text, position, ":"))
        _, end = _decoder.raw_decode(text, start)
        if not isinstance(name, str) or name in spans:
            raise ValueError("a name is no text, or there twice")
        spans[name] = (start, end)
        position = _skip(text, end)
        if text.startswith(",", position):
            position += 1
            continue
        position = _skip(text, _expect(text, position, "}"))
        if position != len(text):
            raise ValueError("something follows the object")
        return spans


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _expect(text: str, position: int, character: str) -> int:
    position = _skip(text, position)
    if not text.startswith(character, position):
        raise ValueError(f"wants {character}")
    return position + 1


def _text(text: str, spans: Mapping[str, tuple[int, int]], name: str) -> str:
    if name not in spans:
        return ""
    start, end = spans[name]
    value = json.loads(text[start:end])
    if not isinstance(value, str):
        raise Malformed(f"{name} is not text", field=name)
    return value
