"""One company's access to CMB: keys, accounts, and what published clients do not agree on."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from libs import sm2
from services.gateway.domain.channel import ChannelMisconfigured

CIPHER_KEY_BYTES: Final = 16
USER_ID_LENGTH_MAX: Final = 30
ACCOUNT_LENGTH_MAX: Final = 35
# More needs a continuation that this does not speak.
BATCH_COUNT_MAX: Final = 1_000
BATCH_WINDOW_MAX_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """What a connector needs. `suspicious` are the states that say "nobody knows": sources differ on BNK and WRF."""

    user_id: str
    private_key: sm2.PrivateKey
    bank_key: sm2.PublicKey
    cipher_key: bytes
    account: str
    branch: str
    business_code: str
    business_mode: str
    settlement: str
    suspicious: frozenset[str]
    duplicate_codes: frozenset[str]
    not_found_codes: frozenset[str]
    not_ready_codes: frozenset[str]
    batch_count_max: int
    batch_window_s: float
    transactions_function: str


def load(values: Mapping[str, str]) -> Settings:
    """Check the channel's credentials. Raises ChannelMisconfigured."""
    try:
        private_key = sm2.PrivateKey.from_raw(_base64(values, "private_key"))
        bank_key = sm2.PublicKey.from_raw(_base64(values, "bank_public_key"))
    except sm2.Sm2KeyInvalid as error:
        raise ChannelMisconfigured(f"a key of the channel cannot be used: {error}") from error
    except sm2.Sm2Unavailable as error:
        raise ChannelMisconfigured(f"SM2 cannot be done here: {error}") from error
    cipher_key = _needed(values, "cipher_key").encode()
    if len(cipher_key) != CIPHER_KEY_BYTES:
        raise ChannelMisconfigured(
            f"cipher_key is not {CIPHER_KEY_BYTES} bytes", field="cipher_key"
        )
    return Settings(
        user_id=_needed(values, "user_id", length_max=USER_ID_LENGTH_MAX),
        private_key=private_key,
        bank_key=bank_key,
        cipher_key=cipher_key,
        account=_needed(values, "account", length_max=ACCOUNT_LENGTH_MAX),
        branch=_needed(values, "branch", length_max=ACCOUNT_LENGTH_MAX),
        business_code=values.get("business_code", "N02030"),
        business_mode=_needed(values, "business_mode"),
        settlement=values.get("settlement", "Q"),
        suspicious=_words(values.get("suspicious_states", "WRF")),
        duplicate_codes=_words(values.get("duplicate_codes", "")),
        not_found_codes=_words(values.get("not_found_codes", "")),
        not_ready_codes=_words(values.get("not_ready_codes", "")),
        batch_count_max=round(_number(values, "batch_count_max", 1, BATCH_COUNT_MAX)),
        batch_window_s=_number(values, "batch_window_ms", 0, BATCH_WINDOW_MAX_S * 1000) / 1000,
        transactions_function=values.get("transactions_function", "DCTRSINF"),
    )


def _needed(values: Mapping[str, str], name: str, *, length_max: int = 128) -> str:
    value = values.get(name, "")
    if not 0 < len(value) <= length_max:
        raise ChannelMisconfigured(f"the credential {name} is missing or too long", field=name)
    return value


def _base64(values: Mapping[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(_needed(values, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ChannelMisconfigured(f"{name} is not base64", field=name) from error


def _number(values: Mapping[str, str], name: str, low: float, high: float) -> float:
    text = values.get(name, "") or str(low)
    if not (text.isascii() and text.replace(".", "", 1).isdigit() and low <= float(text) <= high):
        raise ChannelMisconfigured(f"{name} is not between {low} and {high}", field=name)
    return float(text)


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in text.replace(",", " ").split() if word)
