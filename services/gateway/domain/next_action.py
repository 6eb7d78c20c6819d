"""What the payer, or a payee, has to do next, in words that no channel owns.

Each kind is a value that the store writes as JSON as it stands; `kind` tells them apart when it is read again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

POLL_AFTER_DEFAULT_S: Final = 5
CHARSET_DEFAULT: Final = "UTF-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowQr:
    """Show this text as a QR code."""

    content: str
    kind: Literal["SHOW_QR"] = field(default="SHOW_QR", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Send the payer's browser there."""

    url: str
    kind: Literal["REDIRECT"] = field(default="REDIRECT", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitForm:
    """Have the payer's browser post these fields, in this order and charset."""

    url: str
    fields: tuple[tuple[str, str], ...]
    charset: str = CHARSET_DEFAULT
    kind: Literal["SUBMIT_FORM"] = field(default="SUBMIT_FORM", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSdk:
    """Hand these signed parameters to the wallet's own bridge or SDK."""

    parameters: Mapping[str, str]
    kind: Literal["CALL_SDK"] = field(default="CALL_SDK", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to show: the payer is being asked by their own wallet or bank."""

    poll_after_s: int = POLL_AFTER_DEFAULT_S
    kind: Literal["WAIT"] = field(default="WAIT", init=False)


NextAction: TypeAlias = ShowQr | Redirect | SubmitForm | CallSdk | Wait
_KINDS: Final[Mapping[str, Any]] = {
    "SHOW_QR": ShowQr,
    "REDIRECT": Redirect,
    "SUBMIT_FORM": SubmitForm,
    "CALL_SDK": CallSdk,
    "WAIT": Wait,
}


def restore(stored: Mapping[str, Any] | None) -> NextAction | None:
    """As it was before it was written as JSON."""
    if stored is None:
        return None
    values = {name: value for name, value in stored.items() if name != "kind"}
    if "fields" in values:
        values["fields"] = tuple((name, value) for name, value in values["fields"])
    action: NextAction = _KINDS[stored["kind"]](**values)
    return action
