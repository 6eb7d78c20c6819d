"""The zip of a bill: where it may come from, and what it may do to whoever unpacks it."""

import io
import struct
import zipfile
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.channels.alipay import bills
from services.gateway.domain.channel import BillHashMismatch, ChannelUnavailable

BASE = "http://127.0.0.1:7409/alipay/gateway.do"


def _zip(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def test_files_are_kept_one_after_the_other_whatever_they_are_called() -> None:
    raw = _zip(("../../etc/passwd", b"first"), ("C:\\x", b"second\r\n"), ("folder/", b""))
    assert bills.unpack(raw) == b"first\r\nsecond\r\n"


def test_a_bomb_is_stopped_where_the_limit_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bills, "BILL_BYTES_MAX", 1 << 20)
    bomb = _zip(("a.csv", bytes(1 << 20)), ("b.csv", bytes(1)))
    assert len(bomb) < 4096
    with pytest.raises(BillHashMismatch, match="unpacks to more"):
        bills.unpack(bomb)
    lying = bytearray(_zip(("a.csv", bytes(2 << 20))))
    # The size that the directory states is a lie; what counts is what comes out.
    at = lying.rindex(b"PK\x01\x02") + 24
    lying[at : at + 4] = struct.pack("<I", 10)
    with pytest.raises(BillHashMismatch):
        bills.unpack(bytes(lying))


def test_a_zip_of_too_many_files_or_none_is_refused() -> None:
    for count in (0, bills.MEMBERS_MAX + 1):
        with pytest.raises(BillHashMismatch, match=f"{count} files"):
            bills.unpack(_zip(*((f"{number}.csv", b"x") for number in range(count))))


def test_a_zip_that_broke_off_or_was_bent_is_refused() -> None:
    whole = _zip(("a.csv", b"some lines of a bill" * 50), method=zipfile.ZIP_STORED)
    with pytest.raises(BillHashMismatch):
        bills.unpack(whole[: len(whole) * 3 // 5])
    with pytest.raises(BillHashMismatch):
        bills.unpack(whole.replace(b"of a bill", b"of a bell", 1))
    with pytest.raises(BillHashMismatch):
        bills.unpack(b"<html>expired</html>")


def test_a_zip_that_is_sealed_or_packed_by_other_means_is_refused() -> None:
    whole = _zip(("a.csv", b"some lines of a bill" * 50))
    local, central = whole.index(b"PK\x03\x04"), whole.index(b"PK\x01\x02")
    sealed, foreign = bytearray(whole), bytearray(whole)
    sealed[local + 6] = sealed[central + 8] = 1
    foreign[local + 8] = foreign[central + 10] = 99
    for raw in (sealed, foreign):
        with pytest.raises(BillHashMismatch, match="of a kind"):
            bills.unpack(bytes(raw))


@given(raw=st.binary(max_size=400))
def test_no_bytes_break_the_reader_of_zips(raw: bytes) -> None:
    try:
        bills.unpack(raw)
    except BillHashMismatch:
        return


@given(data=st.data())
def test_no_bent_zip_breaks_the_reader(data: st.DataObject) -> None:
    raw = bytearray(_zip(("a.csv", b"line,line\r\n" * 20), ("b.csv", b"x")))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        bills.unpack(bytes(raw))
    except BillHashMismatch:
        return


@pytest.mark.parametrize(
    "url",
    [
        "https://dwbillcenter.alipay.com/downloadBillFile.resource?fileId=1",
        "http://dwbillcenter.alipay.com/downloadBillFile.resource",
        "https://dwbillcenter.dl.alipaydev.com/x",
        "http://127.0.0.1:7409/alipay/downloadBillFile.resource?fileId=1",
    ],
)
def test_bills_come_from_alipay_or_from_where_calls_go(url: str) -> None:
    assert bills.address({"bill_download_url": url}, BASE) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:7410/alipay",
        "https://alipay.com.example/x",
        "https://evilalipay.com/x",
        "https://user@dwbillcenter.alipay.com/x",
        "https://dwbillcenter.alipay.com:8443/x",
        "ftp://dwbillcenter.alipay.com/x",
        "file:///etc/passwd",
        "http://[::1",
        "https://dwbillcenter.alipay.com:port/",
    ],
)
def test_bills_come_from_nowhere_else(url: str) -> None:
    with pytest.raises(ChannelUnavailable):
        bills.address({"bill_download_url": url}, BASE)


def test_no_such_bill_means_nothing_only_after_ten_the_next_morning() -> None:
    day = date(2026, 11, 11)
    assert not bills.is_due(day, datetime(2026, 11, 12, 1, 59, tzinfo=UTC))
    assert bills.is_due(day, datetime(2026, 11, 12, 2, 0, tzinfo=UTC))
