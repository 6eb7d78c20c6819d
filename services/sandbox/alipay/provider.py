"""Alipay, as the sandbox finds it."""

from datetime import date

from services.sandbox.alipay.merchants import AlipayTerms
from services.sandbox.alipay.player import Alipay
from services.sandbox.fate import Habits
from services.sandbox.provider import Provider

_REF_PARTS = {"charge": "22001400", "refund": "22001499", "payout": "11070006"}


def _provider_ref(day: date, kind: str, digits: str) -> str:
    return f"{day:%Y%m%d}{_REF_PARTS[kind]}{digits}"


PROVIDER = Provider(
    name="alipay",
    terms=AlipayTerms,
    habits=Habits(qr_prefix="https://qr.alipay.com/bax", provider_ref=_provider_ref),
    base_path="/alipay/gateway.do",
    play=Alipay,
)
