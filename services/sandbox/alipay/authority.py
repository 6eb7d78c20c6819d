"""Alipay's own keys: the one that signs answers, and an authority whose certificates both sides show.

All are made when the first account is registered, and kept in the data directory.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from services.sandbox import keys

ROOT_FILE = "alipay_root.pem"
ISSUER_FILE = "alipay_issuer.pem"
SIGNING_FILE = "alipay_signing_{}.pem"

_LIFE = timedelta(days=3650)
_BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
_AUTHORITY = "Ant Financial Certification Authority"
# In certificates, as in Alipay's own, the country comes first and the name last.
_PARTS = (
    (NameOID.COUNTRY_NAME, "CN"),
    (NameOID.ORGANIZATION_NAME, "Ant Financial"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Certification Authority"),
)
_ROOT_SERIAL, _ISSUER_SERIAL = 0x1F, 0x62


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs answers, with the certificate that says whose it is."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def public_key_pem(self) -> str:
        """For key mode."""
        return _public_pem(self.key.public_key())

    @property
    def serial(self) -> str:
        """`alipay_cert_sn`, for certificate mode."""
        return serial(self.certificate)

    def sign(self, content: bytes) -> str:
        """Base64 of RSA PKCS#1 v1.5 with SHA-256. Costs milliseconds of CPU."""
        raw = self.key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(raw).decode()


class Authority:
    """Everything that is signed in Alipay's name. `generation` counts its changes of key."""

    def __init__(self, directory: Path, *, generation: int = 0) -> None:
        self._directory = directory
        self._root = keys.load_or_make(directory / ROOT_FILE)
        self._issuer = keys.load_or_make(directory / ISSUER_FILE)
        self._root_certificate = self._issue(
            _named(f"{_AUTHORITY} R1"), self._root, _ROOT_SERIAL, by_root=True
        )
        self._issuer_certificate = self._issue(
            _named(f"{_AUTHORITY} Class 2 R1"), self._issuer, _ISSUER_SERIAL, by_root=True
        )
        self.generation = generation
        self.signer = self._signer(generation)

    @property
    def root_bundle(self) -> str:
        """The roots that merchants are given."""
        return _pem(self._root_certificate)

    def chain(self, generation: int) -> str:
        """The certificate of that generation's key, and its issuer's."""
        signer = self.signer if generation == self.generation else self._signer(generation)
        return _pem(signer.certificate) + _pem(self._issuer_certificate)

    def replace_key(self) -> None:
        """Sign with a new key from now on."""
        self.generation += 1
        self.signer = self._signer(self.generation)

    def chain_of(self, wanted: str) -> str:
        """The chain of the certificate with that serial number, or ""."""
        for generation in range(self.generation, -1, -1):
            if self._signer(generation).serial == wanted:
                return self.chain(generation)
        return ""

    def certificate_for(self, app_id: str, public_key: rsa.RSAPublicKey) -> x509.Certificate:
        """A merchant's certificate; always the same for the same key."""
        return self._issue(_named(app_id), public_key, _number(app_id, public_key))

    def _signer(self, generation: int) -> Signer:
        key = keys.load_or_make(self._directory / SIGNING_FILE.format(generation))
        name = _named("支付宝(中国)网络技术有限公司")
        return Signer(key, self._issue(name, key, generation + 1000))

    def _issue(
        self,
        subject: x509.Name,
        key: rsa.RSAPrivateKey | rsa.RSAPublicKey,
        number: int,
        *,
        by_root: bool = False,
    ) -> x509.Certificate:
        issuer = f"{_AUTHORITY} R1" if by_root else f"{_AUTHORITY} Class 2 R1"
        public_key = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
        constraints = x509.BasicConstraints(ca=by_root, path_length=None)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_named(issuer))
            .public_key(public_key)
            .serial_number(number)
            .not_valid_before(_BEGAN)
            .not_valid_after(_BEGAN + _LIFE)
            .add_extension(constraints, critical=True)
            .sign(self._root if by_root else self._issuer, hashes.SHA256())
        )


def serial(certificate: x509.Certificate) -> str:
    """Hex MD5 of the issuer, the last part first, and the decimal serial number."""
    return _serial(certificate.issuer, certificate.serial_number)


def _serial(issuer: x509.Name, number: int) -> str:
    text = ",".join(reversed([part.rfc4514_string() for part in issuer])) + str(number)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def app_serial(app_id: str, public_key: rsa.RSAPublicKey) -> str:
    """`app_cert_sn` of the certificate that a merchant is given for their key."""
    return _serial(_named(f"{_AUTHORITY} Class 2 R1"), _number(app_id, public_key))


def certificate_pem(certificate: x509.Certificate) -> str:
    """As merchants are given it."""
    return _pem(certificate)


def _number(app_id: str, public_key: rsa.RSAPublicKey) -> int:
    digest = hashlib.sha256(app_id.encode() + _public_pem(public_key).encode()).hexdigest()
    return int(digest[:30], 16)


def _named(common_name: str) -> x509.Name:
    parts = (*_PARTS, (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _public_pem(key: rsa.RSAPublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def encoded(chain: str) -> str:
    """As a certificate is handed out to be downloaded."""
    return base64.b64encode(chain.encode()).decode()


def root_serial(issuing: Authority) -> str:
    """`alipay_root_cert_sn` of the bundle that merchants are given: it holds one root, signed with RSA."""
    return serial(x509.load_pem_x509_certificate(issuing.root_bundle.encode()))
