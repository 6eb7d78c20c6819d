"""What every connector does with an answer: trust it or not, read its fields, name its outcome."""

from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime

import orjson

from libs.money import AMOUNT_MINOR_MAX
from services.gateway.channels import http
from services.gateway.domain.channel import CHANNEL_UNREACHABLE, Outcome, OutcomeKind

SIGNATURE_SKEW_MAX_S = 300
TIMESTAMP_DIGITS_MAX = 12
# Longer than anything a channel is documented to say.
TEXT_LENGTH_MAX = 2_048


class SignatureInvalid(Exception):
    """A signature does not prove the sender; `field` names the header at fault."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class Malformed(Exception):
    """Signed or not, this cannot be understood; `field` names the place."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ServerFault(Exception):
    """The channel answered 5xx: it does not know itself what it did."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the channel answered HTTP {status}")
        self.status = status


async def settle(
    work: Awaitable[Outcome], *, not_sent: OutcomeKind = OutcomeKind.UNKNOWN
) -> Outcome:
    """Turn everything that is not a channel's definite word into an outcome.

    `not_sent` is the outcome's kind if no connection could be made: only a charge may conclude
    from this that nothing happened under its number.
    """
    try:
        return await work
    except http.NotSent as error:
        return Outcome(kind=not_sent, code=CHANNEL_UNREACHABLE, message=str(error))
    except http.NoAnswer as error:
        return _unknown("NO_ANSWER", error)
    except ServerFault as error:
        return _unknown(f"HTTP_{error.status}", error)
    except SignatureInvalid as error:
        return _unknown("ANSWER_SIGNATURE_INVALID", error)
    except Malformed as error:
        return _unknown("ANSWER_MALFORMED", error)


def _unknown(code: str, error: Exception) -> Outcome:
    return Outcome(kind=OutcomeKind.UNKNOWN, code=code, message=str(error))


def lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    """Header names in lower case, as HTTP compares them."""
    return {name.lower(): value for name, value in headers.items()}


def header(headers: Mapping[str, str], name: str) -> str:
    """A header that a signature needs. Raises SignatureInvalid if it is missing or empty."""
    value = headers.get(name.lower(), "")
    if not value:
        raise SignatureInvalid(f"the header {name} is missing", field=name)
    return value


def check_timestamp(value: str, *, now: datetime, field: str) -> None:
    """Raise SignatureInvalid unless `value` is unix seconds within the skew around `now`."""
    if not (value.isascii() and value.isdigit() and len(value) <= TIMESTAMP_DIGITS_MAX):
        raise SignatureInvalid(f"the header {field} is not unix seconds", field=field)
    if abs(int(value) - int(now.timestamp())) > SIGNATURE_SKEW_MAX_S:
        raise SignatureInvalid(
            f"the signature is more than {SIGNATURE_SKEW_MAX_S} s away from now", field=field
        )


def decode_object(body: bytes) -> dict[str, object]:
    """Decode a JSON object. Raises Malformed."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def child(fields: Mapping[str, object], name: str) -> dict[str, object]:
    """A nested object. Raises Malformed."""
    value = fields.get(name)
    if not isinstance(value, dict):
        raise Malformed(f"{name} is not an object", field=name)
    return value


def text(fields: Mapping[str, object], name: str) -> str:
    """A required, non-empty string. Raises Malformed."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{name} is missing or not text", field=name)
    if "\0" in value or len(value) > TEXT_LENGTH_MAX:
        raise Malformed(f"{name} is no text that can be stored", field=name)
    return value


def optional_text(fields: Mapping[str, object], name: str) -> str:
    """A string, or "" where the channel left it out; cut to what can be stored."""
    value = fields.get(name)
    return value.replace("\0", "")[:TEXT_LENGTH_MAX] if isinstance(value, str) else ""


def amount(fields: Mapping[str, object], name: str) -> int:
    """A required amount in minor units. Raises Malformed for anything but an integer from 0 to AMOUNT_MINOR_MAX."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= AMOUNT_MINOR_MAX:
        raise Malformed(f"{name} is not an amount in minor units", field=name)
    return value


def optional_amount(fields: Mapping[str, object], name: str) -> int | None:
    """An amount in minor units, or None where the channel left it out. Raises Malformed."""
    return None if fields.get(name) is None else amount(fields, name)


def optional_instant(fields: Mapping[str, object], name: str) -> datetime | None:
    """An RFC 3339 instant in UTC, or None where it was left out. Raises Malformed."""
    value = optional_text(fields, name)
    if not value:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise Malformed(f"{name} is not a time", field=name) from error
    if instant.tzinfo is None:
        raise Malformed(f"{name} has no zone", field=name)
    return instant.astimezone(UTC)


def check_reference(answered: str, *, asked: str) -> None:
    """Raise Malformed if the channel answered about another order than the one asked about."""
    if answered != asked:
        raise Malformed(f"asked about {asked}, answered about {answered}")
