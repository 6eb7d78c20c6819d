"""Bills: only from the channel's own place, only what was announced."""

import gzip
import hashlib

import pytest

from services.gateway.channels.wechat import bills
from services.gateway.domain.channel import BillHashMismatch, ChannelUnavailable

BASE = "https://pay.example.com/wechat"
BILL = "﻿交易时间,公众账号ID\r\n`2026-11-11 12:00:00,`wx1\r\n".encode()


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def test_the_signed_target_of_a_download_is_what_follows_the_base_address() -> None:
    url = f"{BASE}/v3/billdownload/file?token=6XIv5T&tartype=gzip"
    assert bills.download_target(url, BASE) == "/v3/billdownload/file?token=6XIv5T&tartype=gzip"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/wechat/v3/billdownload/file?token=1",
        "http://pay.example.com/wechat/v3/file",
        "https://pay.example.com:8443/wechat/v3/file",
        "https://pay.example.com@evil.example.net/wechat/v3/file",
        "https://user@pay.example.com/wechat/v3/file",
        "https://pay.example.com.evil.example.net/wechat/v3/file",
        "https://pay.example.com/wechatter/v3/file",
        "https://pay.example.com/wechat/../control/accounts",
        "https://[bad/wechat/v3/file",
        "file:///etc/passwd",
        "/wechat/v3/file",
    ],
)
def test_a_download_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ChannelUnavailable) as caught:
        bills.download_target(url, BASE)
    assert caught.value.field == "download_url"


def test_a_plain_bill_with_the_announced_hash_is_accepted() -> None:
    bill = bills.check(BILL, hash_type="SHA1", hash_value=_sha1(BILL).upper())
    assert (bill.content, bill.empty) == (BILL, False)


@pytest.mark.parametrize("hashed", ["plain", "compressed"])
def test_a_compressed_bill_is_accepted_by_either_hash(hashed: str) -> None:
    raw = gzip.compress(BILL)
    value = _sha1(BILL if hashed == "plain" else raw)
    assert bills.check(raw, hash_type="SHA1", hash_value=value).content == BILL


@pytest.mark.parametrize(
    "raw",
    [BILL[:-1], b"", gzip.compress(BILL)[:-4], gzip.compress(BILL)[:12] + b"garbage" * 3],
    ids=["cut", "empty", "cut when packed", "garbage"],
)
def test_a_bill_that_is_not_the_announced_one_is_refused(raw: bytes) -> None:
    with pytest.raises(BillHashMismatch) as caught:
        bills.check(raw, hash_type="SHA1", hash_value=_sha1(BILL))
    assert caught.value.reason == "BILL_HASH_MISMATCH"


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bills, "BILL_BYTES_MAX", 1000)
    raw = gzip.compress(b"0" * 1001)
    with pytest.raises(BillHashMismatch, match="too long"):
        bills.check(raw, hash_type="SHA1", hash_value=_sha1(raw))


def test_an_unknown_hash_type_is_refused() -> None:
    with pytest.raises(BillHashMismatch) as caught:
        bills.check(BILL, hash_type="MD5", hash_value="")
    assert caught.value.field == "hash_type"
