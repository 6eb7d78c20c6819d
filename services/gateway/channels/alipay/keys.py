"""Our keys and Alipay's, in key mode and in certificate mode, and what follows them."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from services.gateway.channels.alipay import certificates
from services.gateway.channels.alipay.certificates import Trusted, Untrusted
from services.gateway.channels.answers import SignatureInvalid
from services.gateway.domain.channel import ChannelMisconfigured

RSA_BITS_MIN: Final = 2048
SUCCESSORS_MAX: Final = 8
_PUBLIC_PEM: Final = re.compile(
    rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL
)


@dataclass(slots=True, kw_only=True, repr=False)
class _CertificateMode:
    roots: bytes
    serials: Mapping[str, str]
    trusted: dict[str, Trusted] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """A merchant's keys, loaded. In key mode all of `_keys` are trusted, so that Alipay's may be replaced."""

    app_id: str
    seller_id: str
    app_key: RSAPrivateKey
    _keys: Sequence[RSAPublicKey] = ()
    _certificates: _CertificateMode | None = None

    @property
    def is_certificate_mode(self) -> bool:
        """Whether both sides show certificates, which everything that sends money out demands."""
        return self._certificates is not None

    @property
    def serials(self) -> Mapping[str, str]:
        """What a call says of our certificates."""
        return self._certificates.serials if self._certificates else {}

    @property
    def trusted(self) -> Sequence[RSAPublicKey]:
        """Every key that may have signed what comes unasked."""
        if self._certificates is None:
            return self._keys
        return [certificate.key for certificate in self._certificates.trusted.values()]

    def of_answer(self, serial: str) -> Sequence[RSAPublicKey] | None:
        """The keys for an answer that names this certificate; None if it has to be fetched first.

        Raises SignatureInvalid for an answer of certificate mode that names none.
        """
        if self._certificates is None:
            return self._keys
        if not serial:
            raise SignatureInvalid("the answer names no certificate", field="alipay_cert_sn")
        known = self._certificates.trusted.get(serial)
        return None if known is None else [known.key]

    def accept(self, content: str, *, serial: str, now: datetime) -> None:
        """Trust a certificate that Alipay has handed out in place of a known one. Raises SignatureInvalid."""
        mode = self._certificates
        if mode is None or len(mode.trusted) > SUCCESSORS_MAX:
            raise SignatureInvalid("no further certificate is taken", field="alipay_cert_sn")
        known = next(iter(mode.trusted.values()))
        try:
            chain = certificates.downloaded(content)
            following = certificates.successor(chain, known, mode.roots, now=now)
        except Untrusted as error:
            raise SignatureInvalid(str(error), field="alipay_cert_sn") from error
        if following.serial != serial:
            raise SignatureInvalid("another certificate than was asked for", field="alipay_cert_sn")
        mode.trusted[serial] = following


def load(values: Mapping[str, str], *, now: datetime) -> Credentials:
    """Load and check credentials as they are stored. Raises ChannelMisconfigured.

    Key mode has `alipay_public_key` (more than one PEM while Alipay's key is being replaced), certificate
    mode `app_cert_pem`, `alipay_cert_pem` and `alipay_root_cert_pem`. Keys may be PEM, or the bare base64
    that Alipay's own tool writes.
    """
    app_key = _private(_value(values, "app_private_key"))
    if values.get("alipay_cert_pem"):
        mode = _certificate_mode(values, app_key, now=now)
        keys: Sequence[RSAPublicKey] = ()
    else:
        mode, keys = None, _public(_value(values, "alipay_public_key"))
    return Credentials(
        app_id=_value(values, "app_id"),
        seller_id=values.get("seller_id", ""),
        app_key=app_key,
        _keys=keys,
        _certificates=mode,
    )


def _certificate_mode(
    values: Mapping[str, str], app_key: RSAPrivateKey, *, now: datetime
) -> _CertificateMode:
    roots = _value(values, "alipay_root_cert_pem").encode()
    try:
        [ours, *_] = certificates.read(_value(values, "app_cert_pem").encode())
        trusted = certificates.trust(_value(values, "alipay_cert_pem").encode(), roots, now=now)
        serials = {
            "app_cert_sn": certificates.serial(ours),
            "alipay_root_cert_sn": certificates.root_serial(roots),
        }
    except Untrusted as error:
        raise ChannelMisconfigured(str(error), field="alipay_cert_pem") from error
    if ours.public_key() != app_key.public_key():
        raise ChannelMisconfigured("the certificate is not that of our key", field="app_cert_pem")
    return _CertificateMode(roots=roots, serials=serials, trusted={trusted.serial: trusted})


def _value(values: Mapping[str, str], name: str) -> str:
    found = values.get(name, "").strip()
    if not found:
        raise ChannelMisconfigured(f"the credential {name} is missing", field=name)
    return found


def _private(text: str) -> RSAPrivateKey:
    raw = text.encode()
    try:
        key = (
            load_pem_private_key(raw, None)
            if raw.startswith(b"-----BEGIN")
            else load_der_private_key(base64.b64decode(raw), None)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ChannelMisconfigured("our key is not readable", field="app_private_key") from error
    if not isinstance(key, RSAPrivateKey) or key.key_size < RSA_BITS_MIN:
        raise ChannelMisconfigured(
            f"our key is not RSA of {RSA_BITS_MIN} bits or more", field="app_private_key"
        )
    return key


def _public(text: str) -> Sequence[RSAPublicKey]:
    raw = text.encode()
    try:
        found = (
            [load_pem_public_key(pem) for pem in _PUBLIC_PEM.findall(raw)]
            if raw.startswith(b"-----BEGIN")
            else [load_der_public_key(base64.b64decode(raw))]
        )
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ChannelMisconfigured(
            "Alipay's key is not readable", field="alipay_public_key"
        ) from error
    keys = [key for key in found if isinstance(key, RSAPublicKey)]
    if not keys or len(keys) != len(found):
        raise ChannelMisconfigured("Alipay's key is not RSA", field="alipay_public_key")
    return keys
