"""WeChat Pay trade bills: where they are, whether what came is what was announced."""

import hashlib
import zlib
from collections.abc import Mapping
from datetime import date
from urllib.parse import urlsplit

from services.gateway.channels import answers
from services.gateway.domain.channel import BillFile, BillHashMismatch, ChannelUnavailable

BILL_BYTES_MAX = 256 << 20
NO_STATEMENT = "NO_STATEMENT_EXIST"
STATEMENT_CREATING = "STATEMENT_CREATING"
STATEMENT_RETRY_S = 1800.0
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = zlib.MAX_WBITS | 16

EMPTY = BillFile(content=b"", hash_type="", hash_value="", empty=True)


def announce_target(business_date: date) -> str:
    """Path and query that announce the day's bill of all transactions."""
    return f"/v3/bill/tradebill?bill_date={business_date.isoformat()}&bill_type=ALL&tar_type=GZIP"


def announced(fields: Mapping[str, object]) -> tuple[str, str, str]:
    """Hash type, hash value and download address of an announcement. Raises Malformed."""
    return (
        answers.text(fields, "hash_type"),
        answers.text(fields, "hash_value"),
        answers.text(fields, "download_url"),
    )


def download_target(download_url: str, base_url: str) -> str:
    """The path and query of a download, as they are signed: what follows the base address.

    The address is data from outside and our signature goes with the request, so it may only point
    to where the channel's own API is. Raises ChannelUnavailable for any other place.
    """
    base = urlsplit(base_url)
    try:
        url = urlsplit(download_url)
    except ValueError as error:
        raise ChannelUnavailable("the bill's address is no URL", field="download_url") from error
    same_origin = (url.scheme, url.netloc) == (base.scheme, base.netloc)
    inside = url.path.startswith(f"{base.path}/") and ".." not in url.path
    if not (same_origin and inside):
        raise ChannelUnavailable("the bill's address is not at the channel", field="download_url")
    target = url.path.removeprefix(base.path)
    return f"{target}?{url.query}" if url.query else target


def check(raw: bytes, *, hash_type: str, hash_value: str) -> BillFile:
    """The plain bill, if its hash is the announced one. Raises BillHashMismatch.

    The documentation leaves open whether the hash of a compressed bill is that of the file as it
    travels or of its content, so either is accepted.
    """
    if hash_type != "SHA1":
        raise BillHashMismatch(f"hash type {hash_type} is not supported", field="hash_type")
    plain = _decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw
    expected = hash_value.lower()
    if expected not in (_sha1(plain), _sha1(raw)):
        raise BillHashMismatch("the bill's SHA1 is not the announced one", field="hash_value")
    return BillFile(content=plain, hash_type=hash_type, hash_value=expected, empty=False)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _decompress(raw: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        plain = decompressor.decompress(raw, BILL_BYTES_MAX)
    except zlib.error as error:
        raise BillHashMismatch("the bill cannot be decompressed") from error
    if not decompressor.eof:
        raise BillHashMismatch("the compressed bill is cut off, or too long")
    return plain
