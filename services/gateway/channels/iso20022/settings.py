"""One company's account at a bank of ISO 20022: who pays from where, in which versions, and how messages travel."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from libs.money import is_currency
from services.gateway.domain.channel import ChannelMisconfigured

PAYMENT_VERSIONS: Final = ("03", "09")
BATCH_COUNT_MAX: Final = 10_000
# A call waits for its answer over HTTP; a file is on its own once it lies in our directory.
HTTP_WINDOW_MAX_MS: Final = 2_000
FILE_WINDOW_MAX_MS: Final = 3_600_000
NAME_LENGTH_MAX: Final = 70
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{10,30}", re.ASCII)
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", re.ASCII)
_CODE: Final = re.compile(r"[A-Z]{4}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What messages are made of. An agent is named by BIC, or by its number in a clearing system."""

    initiating_party: str
    debtor_name: str
    debtor_account: str
    debtor_agent_bic: str
    debtor_agent_member: str
    clearing_system: str
    currency: str
    charge_bearer: str
    payment_version: str
    is_batch_booked: bool
    batch_count_max: int
    batch_window_s: float
    zone: ZoneInfo
    checksums_required: bool
    """Whether a file without a SHA-256 beside it is ever read."""


def load(values: Mapping[str, str], *, window_max_ms: int) -> Settings:
    """Check the channel's credentials. Raises ChannelMisconfigured."""
    settings = Settings(
        initiating_party=_needed(values, "initiating_party"),
        debtor_name=_needed(values, "debtor_name"),
        debtor_account=_needed(values, "debtor_account"),
        debtor_agent_bic=values.get("debtor_agent_bic", ""),
        debtor_agent_member=values.get("debtor_agent_member", ""),
        clearing_system=values.get("clearing_system", ""),
        currency=_needed(values, "currency"),
        charge_bearer=values.get("charge_bearer", "SLEV"),
        payment_version=values.get("payment_version", "09"),
        is_batch_booked=_flag(values, "batch_booking", default=False),
        batch_count_max=_number(values, "batch_count_max", 1, BATCH_COUNT_MAX),
        batch_window_s=_number(values, "batch_window_ms", 0, window_max_ms) / 1000,
        zone=_zone(values.get("zone", "UTC")),
        checksums_required=_flag(values, "checksums_required", default=True),
    )
    if not is_currency(settings.currency):
        raise ChannelMisconfigured("currency is not a currency", field="currency")
    if settings.payment_version not in PAYMENT_VERSIONS:
        known = ", ".join(PAYMENT_VERSIONS)
        raise ChannelMisconfigured(f"payment_version is none of {known}", field="payment_version")
    if not _CODE.fullmatch(settings.charge_bearer):
        raise ChannelMisconfigured("charge_bearer is no code", field="charge_bearer")
    if settings.debtor_agent_bic and not _BIC.fullmatch(settings.debtor_agent_bic):
        raise ChannelMisconfigured("debtor_agent_bic is no BIC", field="debtor_agent_bic")
    if not (settings.debtor_agent_bic or settings.debtor_agent_member):
        raise ChannelMisconfigured("the bank needs a name", field="debtor_agent_bic")
    return settings


def is_iban(account: str) -> bool:
    """Whether an account is an IBAN, check digits and all (ISO 13616)."""
    if not _IBAN.fullmatch(account):
        return False
    digits = "".join(str(int(each, 36)) for each in account[4:] + account[:4])
    return int(digits) % 97 == 1


def is_bic(text: str) -> bool:
    """Whether a text has the form of a BIC (ISO 9362)."""
    return _BIC.fullmatch(text) is not None


def _needed(values: Mapping[str, str], name: str) -> str:
    value = values.get(name, "").strip()
    if not 0 < len(value) <= NAME_LENGTH_MAX:
        raise ChannelMisconfigured(f"the credential {name} is missing or too long", field=name)
    return value


def _number(values: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = values.get(name, "") or str(low)
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high))):
        raise ChannelMisconfigured(f"{name} is no whole number", field=name)
    if not low <= int(text) <= high:
        raise ChannelMisconfigured(f"{name} is not between {low} and {high}", field=name)
    return int(text)


def _flag(values: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = values.get(name, "") or ("true" if default else "false")
    if text not in ("true", "false"):
        raise ChannelMisconfigured(f"{name} is neither true nor false", field=name)
    return text == "true"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ChannelMisconfigured("zone is no time zone", field="zone") from error
