"""The errors of all services as one public vocabulary."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from libs.errors import ErrorKind, FiscError
from libs.rpc.status import CODE_OF_KIND
from tests.architecture import tree

# A reason that several services may give, and why a client can treat them all alike.
SHARED: Final[Mapping[str, str]] = {
    "REQUEST_ID_REUSED": "every mutating call is idempotent by the same rule",
    "INVALID_TEXT": "every text is held to the same rule: no NUL, no lone surrogate",
    "INVALID_DATE": "every date is held to the same rule",
    "LOST_RACE": "whoever loses a race may send the same again",
    "UNKNOWN_CURRENCY": "currencies are ISO 4217 everywhere",
    "CURRENCY_MISMATCH": "libs.money states the same rule for amounts that meet",
    "SAME_ACCOUNT": "money cannot move from an account to itself, whoever asks",
    "INTERNAL": "what is our own fault is never explained further",
}


def _below(parent: type[FiscError]) -> Iterator[type[FiscError]]:
    for child in parent.__subclasses__():
        yield child
        yield from _below(child)


def _owner(error: type[FiscError]) -> str:
    first, second, *_ = error.__module__.split(".")
    return f"services.{second}" if first == "services" else first


def _errors() -> list[type[FiscError]]:
    """The errors that state a reason of their own."""
    tree.import_all()
    ours = ("services", "libs")
    errors = {error for error in _below(FiscError) if error.__module__.partition(".")[0] in ours}
    return sorted(
        (error for error in errors if isinstance(vars(error).get("reason"), str)),
        key=lambda error: (error.__module__, error.__qualname__),
    )


def test_one_reason_means_one_thing() -> None:
    by_reason: dict[str, list[type[FiscError]]] = defaultdict(list)
    for error in _errors():
        by_reason[error.reason].append(error)
    clashes = [
        f"{reason}: {', '.join(f'{error.__module__}.{error.__qualname__}' for error in errors)}"
        for reason, errors in by_reason.items()
        if len(errors) > 1
        and (reason not in SHARED or len({_owner(error) for error in errors}) < len(errors))
    ]
    assert not clashes, "name them apart, or list the reason as shared:\n" + "\n".join(clashes)


def test_a_shared_reason_is_of_one_kind() -> None:
    kinds: dict[str, set[ErrorKind]] = defaultdict(set)
    for error in _errors():
        kinds[error.reason].add(error.kind)
    differing = {reason: found for reason, found in kinds.items() if len(found) > 1}
    assert differing == {}


def test_reasons_are_upper_snake() -> None:
    odd = [
        error.reason
        for error in _errors()
        if not re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", error.reason)
    ]
    assert odd == []


def test_every_error_says_what_went_wrong() -> None:
    silent = [
        f"{error.__module__}.{error.__qualname__}" for error in _errors() if not error.__doc__
    ]
    assert silent == []


def test_every_kind_has_a_code_of_its_own() -> None:
    assert set(CODE_OF_KIND) == set(ErrorKind)
    assert len(set(CODE_OF_KIND.values())) == len(ErrorKind)
