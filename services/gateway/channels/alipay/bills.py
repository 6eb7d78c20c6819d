"""Alipay's bills: where they are, and what is in the zip that comes from there.

A day has two: `trade`, every payment and refund, and `signcustomer`, every movement of the balance, where
alone transfers stand. Both are zips of two GBK files, details and summary, in either order; what we keep of
them is the plain files one after the other, each of which says in its first line what it is.
"""

import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final
from urllib.parse import urlsplit

from services.gateway.channels import answers
from services.gateway.channels.alipay import values
from services.gateway.channels.alipay.messages import Content
from services.gateway.domain.channel import BillFile, BillHashMismatch, ChannelUnavailable

DOWNLOAD_URL: Final = "alipay.data.dataservice.bill.downloadurl.query"
BILL_TYPES: Final = ("trade", "signcustomer")
ZIP_BYTES_MAX: Final = 64 << 20
BILL_BYTES_MAX: Final = 256 << 20
MEMBERS_MAX: Final = 16
# Alipay has made the bills of a day by this hour of the next; before it, "no such bill" may mean "not yet".
READY_AT: Final = time(10, 0)
RETRY_S: Final = 1800.0
HASH_TYPE: Final = "SHA256"
# Bills do not come from where calls go to.
HOST_SUFFIXES: Final = (".alipay.com", ".alipaydev.com")

EMPTY: Final = BillFile(content=b"", hash_type="", hash_value="", empty=True)


def content(bill_type: str, business_date: date) -> Content:
    """Ask where the day's bill of a type is."""
    return {"bill_type": bill_type, "bill_date": business_date.isoformat()}


def is_due(business_date: date, now: datetime) -> bool:
    """Whether "no such bill" means that the day had no business."""
    due = datetime.combine(business_date + timedelta(days=1), READY_AT, values.BEIJING)
    return now >= due


def address(fields: Mapping[str, object], base_url: str) -> str:
    """Where the zip is. Raises Malformed, and ChannelUnavailable for any place that is not Alipay's.

    The address is data from outside: what we fetch must not be anything inside our own walls.
    """
    written = answers.text(fields, "bill_download_url")
    try:
        url, base = urlsplit(written), urlsplit(base_url)
        host = (url.hostname or "").lower()
        is_base = (url.scheme, url.netloc) == (base.scheme, base.netloc)
        is_alipays = (
            url.scheme in ("http", "https") and url.port in (None, 80, 443) and url.username is None
        )
    except ValueError as error:
        raise ChannelUnavailable(
            "the bill's address is no URL", field="bill_download_url"
        ) from error
    if not (is_base or (is_alipays and host.endswith(HOST_SUFFIXES))):
        raise ChannelUnavailable("the bill's address is not at Alipay", field="bill_download_url")
    return written


def unpack(raw: bytes) -> bytes:
    """The plain files of a zip, one after the other. Raises BillHashMismatch.

    Their names decide nothing: they are in GBK without saying so, and no file is written anywhere.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if not 0 < len(members) <= MEMBERS_MAX:
                raise BillHashMismatch(f"the zip holds {len(members)} files")
            parts, left = [], BILL_BYTES_MAX
            for member in members:
                part = _member(archive, member, left)
                left -= len(part)
                parts.append(part)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise BillHashMismatch("the zip cannot be read") from error
    except (RuntimeError, ValueError, OverflowError) as error:
        raise BillHashMismatch("the zip is of a kind that is not read") from error
    return b"".join(part if part.endswith(b"\n") else part + b"\r\n" for part in parts)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, bytes_max: int) -> bytes:
    """One file, its checksum held, and never more of it than is allowed, whatever the zip says of it."""
    with archive.open(member) as stream:
        plain = stream.read(bytes_max + 1)
    if len(plain) > bytes_max:
        raise BillHashMismatch(f"the zip unpacks to more than {BILL_BYTES_MAX} bytes")
    return plain


def together(parts: Sequence[bytes]) -> BillFile:
    """One bill of the day out of those of each type. Alipay announces no hash, so it is our own."""
    plain = b"".join(parts)
    return BillFile(
        content=plain,
        hash_type=HASH_TYPE,
        hash_value=hashlib.sha256(plain).hexdigest(),
        empty=False,
    )
