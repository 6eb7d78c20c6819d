"""How Alipay writes amounts and times: yuan with two decimals, Beijing time without a zone."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from libs.money import AMOUNT_MINOR_MAX
from services.gateway.channels import answers
from services.gateway.channels.answers import Malformed

CURRENCY: Final = "CNY"
BEIJING: Final = timezone(timedelta(hours=8))
TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
_FEN_A_YUAN: Final = 100
_YUAN = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,2}))?", re.ASCII)
_INSTANT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,3})?")


def yuan(amount_minor: int) -> str:
    """Fen as yuan, both decimals written."""
    return f"{amount_minor // _FEN_A_YUAN}.{amount_minor % _FEN_A_YUAN:02d}"


def beijing(instant: datetime) -> str:
    """An instant as Beijing's clocks show it, to the second."""
    return instant.astimezone(BEIJING).strftime(TIME_FORMAT)


def amount(fields: Mapping[str, object], name: str) -> int:
    """A required amount, in fen. Raises Malformed for anything but plain yuan, two decimals at most."""
    match = _YUAN.fullmatch(answers.text(fields, name))
    if match is None:
        raise Malformed(f"{name} is not an amount in yuan", field=name)
    fen = int(match.group(1)) * _FEN_A_YUAN + int((match.group(2) or "").ljust(2, "0"))
    if fen > AMOUNT_MINOR_MAX:
        raise Malformed(f"{name} is more than we can keep", field=name)
    return fen


def optional_amount(fields: Mapping[str, object], name: str) -> int | None:
    """An amount in fen, or None where Alipay left it out. Raises Malformed."""
    return amount(fields, name) if answers.optional_text(fields, name) else None


def optional_instant(fields: Mapping[str, object], name: str) -> datetime | None:
    """A Beijing time in UTC, or None where Alipay left it out. Raises Malformed."""
    text = answers.optional_text(fields, name)
    if not text:
        return None
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise Malformed(f"{name} is not a time", field=name)
    try:
        written = datetime.strptime(match.group(1), TIME_FORMAT)  # noqa: DTZ007 -- zone follows
        return written.replace(tzinfo=BEIJING).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Malformed(f"{name} is not a time", field=name) from error
