"""HTTP Message Signatures (RFC 9421) over a Content-Digest (RFC 9530), for requests and answers."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from services.gateway.channels.answers import SIGNATURE_SKEW_MAX_S, SignatureInvalid

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

LABEL: Final = "fisc"
DIGEST: Final = "sha-256"
REQUEST_COMPONENTS: Final = ('"@method"', '"@path"', '"@query"', '"content-digest"')
ANSWER_COMPONENTS: Final = (
    '"@status"', '"content-digest"', '"@method";req', '"@path";req', '"@query";req',
)  # fmt: skip
HEADER_LENGTH_MAX: Final = 4_096
RSA_BITS_MIN: Final = 2_048
_PSS_SALT_BYTES: Final = 64
_P256_BYTES: Final = 32
_INPUT = re.compile(
    r'(?P<label>[a-z*][a-z0-9_.*-]{0,63})=(?P<parameters>\((?P<components>(?:"[a-z0-9@_-]{1,64}"(?:;req)?)'
    r'(?: "[a-z0-9@_-]{1,64}"(?:;req)?){0,15})\)'
    r'(?P<rest>(?:;[a-z]{1,16}=(?:"[ !#-\[\]-~]{0,256}"|[0-9]{1,15})){0,6}))',
    re.ASCII,
)
_PARAMETER = re.compile(r';([a-z]+)=(?:"([^"]*)"|([0-9]+))', re.ASCII)


def load_private(pem: str) -> PrivateKey:
    """An RSA, P-256 or Ed25519 key. Raises ValueError."""
    key = _load(lambda: serialization.load_pem_private_key(pem.encode(), None))
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS_MIN:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise ValueError("neither RSA of 2048 bits or more, P-256 nor Ed25519")


def load_public(pem: str) -> PublicKey:
    """An RSA, P-256 or Ed25519 key. Raises ValueError."""
    key = _load(lambda: serialization.load_pem_public_key(pem.encode()))
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS_MIN:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise ValueError("neither RSA of 2048 bits or more, P-256 nor Ed25519")


def _load(load: Callable[[], object]) -> object:
    try:
        return load()
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("not a readable key") from error


def sign(key: PrivateKey, message: bytes) -> bytes:
    """The signature by the algorithm that the key is for."""
    match key:
        case rsa.RSAPrivateKey():
            pss = padding.PSS(padding.MGF1(hashes.SHA512()), _PSS_SALT_BYTES)
            return key.sign(message, pss, hashes.SHA512())
        case ec.EllipticCurvePrivateKey():
            r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(_P256_BYTES) + s.to_bytes(_P256_BYTES)
        case _:
            return key.sign(message)


def verify(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the holder of the key signed the message."""
    try:
        match key:
            case rsa.RSAPublicKey():
                pss = padding.PSS(padding.MGF1(hashes.SHA512()), _PSS_SALT_BYTES)
                key.verify(signature, message, pss, hashes.SHA512())
            case ec.EllipticCurvePublicKey():
                if len(signature) != 2 * _P256_BYTES:
                    return False
                r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
                der = utils.encode_dss_signature(r, s)
                key.verify(der, message, ec.ECDSA(hashes.SHA256()))
            case _:
                key.verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def content_digest(body: bytes) -> str:
    """The value of Content-Digest."""
    return f"{DIGEST}=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def base(components: Sequence[str], values: Mapping[str, str], parameters: str) -> bytes:
    """The text that is signed: a line a component, and the parameters."""
    lines = [f"{component}: {values[component]}" for component in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def request_values(method: str, path: str, query: str, digest: str) -> dict[str, str]:
    """What a request's components stand for."""
    values = {'"@method"': method, '"@path"': path, '"@query"': f"?{query}"}
    return values | {'"content-digest"': digest}


def request_headers(
    key: PrivateKey,
    key_id: str,
    *,
    values: Mapping[str, str],
    created_at: datetime,
    nonce: str,
) -> dict[str, str]:
    """The headers that sign a request."""
    parameters = (
        f"({' '.join(REQUEST_COMPONENTS)});created={int(created_at.timestamp())}"
        f';keyid="{key_id}";nonce="{nonce}"'
    )
    signature = sign(key, base(REQUEST_COMPONENTS, values, parameters))
    return {
        "Content-Digest": values['"content-digest"'],
        "Signature-Input": f"{LABEL}={parameters}",
        "Signature": f"{LABEL}=:{base64.b64encode(signature).decode()}:",
    }


def verify_answer(
    key: PublicKey,
    *,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    request: Mapping[str, str],
    now: datetime,
) -> None:
    """Raise SignatureInvalid unless the bank signed this answer to that request just now.

    `headers` have lower-case names; `request` is what `request_values` gave.
    """
    digest = content_digest(body)
    stated = _header(headers, "content-digest")
    if not hmac.compare_digest(stated.encode(), digest.encode()):
        raise SignatureInvalid("the digest does not fit the body", field="content-digest")
    found = _INPUT.fullmatch(_header(headers, "signature-input"))
    if found is None:
        raise SignatureInvalid("the signature's parameters are not read", field="signature-input")
    components = found["components"].split(" ")
    if not set(ANSWER_COMPONENTS) <= set(components) or len(set(components)) != len(components):
        raise SignatureInvalid("the signature leaves something out", field="signature-input")
    values = {'"@status"': str(status), '"content-digest"': digest}
    values |= {f"{name};req": value for name, value in request.items()}
    if not set(components) <= values.keys():
        raise SignatureInvalid("the signature covers what is not known", field="signature-input")
    _check_time(found["rest"], now)
    raw = _signature(_header(headers, "signature"), found["label"])
    if not verify(key, raw, base(components, values, found["parameters"])):
        raise SignatureInvalid("the signature does not fit the answer", field="signature")


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not 0 < len(value) <= HEADER_LENGTH_MAX:
        raise SignatureInvalid(f"the header {name} is missing or too long", field=name)
    return value


def _check_time(rest: str, now: datetime) -> None:
    parameters = {name: number for name, _, number in _PARAMETER.findall(rest)}
    created = parameters.get("created") or "0"
    if abs(int(created) - int(now.timestamp())) > SIGNATURE_SKEW_MAX_S:
        raise SignatureInvalid(
            f"the signature is more than {SIGNATURE_SKEW_MAX_S} s away from now", field="created"
        )


def _signature(header: str, label: str) -> bytes:
    name, _, value = header.partition("=")
    if name != label or len(value) < 2 or (value[0], value[-1]) != (":", ":"):  # noqa: PLR2004 (two colons)
        raise SignatureInvalid("the signature is not the announced one", field="signature")
    try:
        return base64.b64decode(value[1:-1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureInvalid("the signature is not base64", field="signature") from error
