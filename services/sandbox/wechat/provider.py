"""WeChat Pay, as the sandbox finds it."""

from datetime import date

from pydantic import Field, field_validator

from services.sandbox.fate import Habits
from services.sandbox.provider import Provider, Terms
from services.sandbox.wechat import signing
from services.sandbox.wechat.player import WechatPay

APIV3_KEY_BYTES = 32

_REF_PREFIX = {"charge": "42000", "refund": "50300", "payout": "13300"}


class WechatTerms(Terms):
    """A direct merchant's numbers and keys."""

    appid: str = Field(min_length=1)
    apiv3_key: str
    merchant_serial: str = Field(min_length=1)
    merchant_public_key_pem: str

    @field_validator("apiv3_key")
    @classmethod
    def _is_an_aes_key(cls, value: str) -> str:
        if len(value.encode()) != APIV3_KEY_BYTES:
            raise ValueError(f"must be {APIV3_KEY_BYTES} bytes")
        return value

    @field_validator("merchant_public_key_pem")
    @classmethod
    def _is_an_rsa_key(cls, value: str) -> str:
        try:
            signing.merchant_key(value)
        except ValueError as error:
            raise ValueError("is not an RSA public key in PEM") from error
        return value


def _provider_ref(day: date, kind: str, digits: str) -> str:
    return f"{_REF_PREFIX[kind]}00{digits[:3]}{day:%Y%m%d}{digits[2:]}"


PROVIDER = Provider(
    name="wechat",
    terms=WechatTerms,
    habits=Habits(
        qr_prefix="weixin://wxpay/bizpayurl?pr=",
        provider_ref=_provider_ref,
        # WeChat's refunds are never at once.
        settle_after_ms=(150, 600),
    ),
    base_path="/wechat",
    play=WechatPay,
)
