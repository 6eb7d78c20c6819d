"""Certificate mode: serial numbers as Alipay computes them, and whom its chain makes us trust.

A serial number is the MD5 of the issuer's name, its last part first, and the decimal serial; that of the
roots joins those of the bundle that were signed with RSA, by an underscore.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

RSA_SIGNATURES = "1.2.840.113549.1.1"
CERTIFICATES_MAX = 16
CHAIN_BYTES_MAX = 64 * 1024
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


class Untrusted(Exception):
    """A certificate is unreadable, or leads to none of the roots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A certificate of Alipay's that leads to a root of ours."""

    serial: str
    issuer: x509.Name
    subject: x509.Name
    key: RSAPublicKey


def serial(certificate: x509.Certificate) -> str:
    """`app_cert_sn` of our certificate, `alipay_cert_sn` of Alipay's."""
    name = f"{certificate.issuer.rfc4514_string()}{certificate.serial_number}"
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def root_serial(bundle: bytes) -> str:
    """`alipay_root_cert_sn` of the root bundle. Raises Untrusted for one without an RSA root."""
    serials = [serial(certificate) for certificate in _rsa_only(read(bundle))]
    if not serials:
        raise Untrusted("the root bundle holds no certificate signed with RSA")
    return "_".join(serials)


def read(bundle: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM bundle; those that cannot be read (SM2 roots) are left out.

    Raises Untrusted for too many, or none.
    """
    if len(bundle) > CHAIN_BYTES_MAX:
        raise Untrusted(f"the bundle is longer than {CHAIN_BYTES_MAX} bytes")
    blocks = [part.partition(_END)[0] for part in bundle.split(_BEGIN)[1:]]
    if not 0 < len(blocks) <= CERTIFICATES_MAX:
        raise Untrusted(f"a bundle holds 1 to {CERTIFICATES_MAX} certificates")
    found = []
    for block in blocks:
        try:
            found.append(x509.load_der_x509_certificate(base64.b64decode(block)))
        except (ValueError, UnsupportedAlgorithm):
            continue
    if not found:
        raise Untrusted("none of the certificates can be read")
    return found


def trust(chain: bytes, roots: bytes, *, now: datetime) -> Trusted:
    """Alipay's certificate at the head of a chain, if it leads to one of the roots. Raises Untrusted."""
    certificates = read(chain)
    path = _path(certificates, _rsa_only(read(roots)))
    for certificate in path:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise Untrusted("a certificate of the chain is not valid at this time")
    for issued, issuer in pairwise(path):
        _check_issued(issued, issuer)
    head = path[0]
    key = head.public_key()
    if not isinstance(key, RSAPublicKey):
        raise Untrusted("Alipay's certificate does not hold an RSA key")
    return Trusted(serial=serial(head), issuer=head.issuer, subject=head.subject, key=key)


def successor(chain: bytes, known: Trusted, roots: bytes, *, now: datetime) -> Trusted:
    """The certificate that follows the known one, as Alipay's gateway hands it out. Raises Untrusted.

    Every merchant's certificate leads to the same roots, so a successor must carry the same name and
    come from the same issuer as the one that was configured.
    """
    following = trust(chain, roots, now=now)
    if (following.issuer, following.subject) != (known.issuer, known.subject):
        raise Untrusted("the new certificate is not in the name of the known one")
    return following


def downloaded(content: str) -> bytes:
    """The chain in an answer to `alipay.open.app.alipaycert.download`. Raises Untrusted."""
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Untrusted("the downloaded certificate is not base64") from error


def _path(
    certificates: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """From the first certificate by issuers' names to a root."""
    path = [certificates[0]]
    while path[-1] not in roots:
        issuers = [
            candidate
            for candidate in (*roots, *certificates)
            if candidate.subject == path[-1].issuer and candidate not in path
        ]
        if not issuers:
            raise Untrusted("the chain leads to none of the roots")
        path.append(issuers[0])
    return path


def _check_issued(issued: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        is_authority = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Untrusted("an issuer of the chain is no authority") from error
    if not is_authority:
        raise Untrusted("an issuer of the chain is no authority")
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Untrusted("a certificate of the chain was not signed by its issuer") from error


def _rsa_only(certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    return [
        certificate
        for certificate in certificates
        if certificate.signature_algorithm_oid.dotted_string.startswith(RSA_SIGNATURES)
    ]
