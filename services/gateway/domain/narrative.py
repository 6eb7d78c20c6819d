"""A subject's history in sentences that an on-call understands, oldest first."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from libs.money import Money
from libs.saga import flow as sagas
from services.gateway.domain import saga
from services.gateway.domain.cases import Case, FollowUpLine
from services.gateway.domain.saga import Attempt

TEXT_MAX: Final = 160

_EVENTS: Final[Mapping[str, str]] = {
    "created": "Let through: on its way to a channel",
    "review": "Risk wants a person to look at it first",
    "rerouted": "Definitely refused there: goes on to the next channel",
    "pending": "Waits for the payer",
    "authorized": "The payer's money is reserved; waits for captures",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "canceled": "Canceled",
    "returned": "Sent back by the payee's bank",
    "manual": "Stands before a person",
    "late_success": "A channel says it moved money after all",
    "late_return": "What had left after all was sent back by the payee's bank",
}
_CALLBACKS: Final[Mapping[str, str]] = {
    "RECEIVED": "kept, not read yet",
    "APPLIED": "taken in",
    "DUPLICATE": "heard before, nothing changed",
    "UNKNOWN_ORDER": "not an order of ours",
}


class Told(Protocol):
    """What every flow's subject has."""

    @property
    def merchant_id(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def state(self) -> enum.StrEnum: ...
    @property
    def reason(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def next_run_at(self) -> datetime | None: ...
    @property
    def faults_count(self) -> int: ...
    @property
    def last_fault(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What a person did about a subject, out of the audit chain."""

    at: datetime
    actor_id: str
    action: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything a history is told from."""

    flow: str
    subject: Told
    attempts: tuple[Attempt, ...]
    events: Iterable[tuple[datetime, str]]
    """(when, type) as told to other services."""
    callbacks: Iterable[tuple[datetime, int, str]]
    """(when, attempt number, result)."""
    follow_ups: Iterable[FollowUpLine]
    cases: Iterable[Case]
    deeds: Iterable[Deed]


Line = tuple[datetime, str]


def tell(sources: Sources, now: datetime) -> list[Line]:
    """The whole history; what happened at one instant stands in the order in which it came about."""
    channels = {attempt.number: attempt.channel_id for attempt in sources.attempts}
    # An answer stands before what it led to, and that before the next order.
    lines = [_answer(attempt) for attempt in sources.attempts if attempt.answered_at is not None]
    lines += _events(sources)
    for attempt in sources.attempts:
        lines += _order(attempt)
    lines += [
        (at, f"{channels[number]} notified us of attempt {number}: {_callback(result)}.")
        for at, number, result in sources.callbacks
    ]
    lines += [(each.created_at, _follow_up(each)) for each in sources.follow_ups]
    for case in sources.cases:
        lines += _case(case)
    lines += [(deed.at, _deed(deed)) for deed in sources.deeds]
    lines.sort(key=lambda line: line[0])
    return [_creation(sources), *lines, *_now(sources.subject, now)]


def _creation(sources: Sources) -> Line:
    subject = sources.subject
    parts = [f"{sources.flow.capitalize()} of {_money(subject.amount_minor, subject.currency)}"]
    if payment_id := getattr(subject, "payment_id", "") if sources.flow != "payment" else "":
        parts.append(f"of {payment_id}")
    if method := getattr(subject, "method", ""):
        parts.append(f"by {method}")
    parts.append(f"asked for by {subject.merchant_id}")
    if plan := getattr(subject, "plan", ()):
        parts.append(f"over {', then '.join(plan)}")
    return subject.created_at, f"{' '.join(parts)}."


def _events(sources: Sources) -> list[Line]:
    lines = []
    told = list(sources.events)
    for index, (at, kind) in enumerate(told):
        name = kind.rpartition(".")[2]
        if name == "created" and index == 0:
            # Told by the line before; after a review it is news.
            continue
        text = _EVENTS.get(name, kind)
        is_latest = index == len(told) - 1 and name == sources.subject.state.lower()
        lines.append((at, f"{text}{_because(sources.subject.reason) if is_latest else ''}."))
    return lines


def _order(attempt: Attempt) -> list[Line]:
    text = f"Attempt {attempt.number}: sent to {attempt.channel_id} as {attempt.out_ref}."
    if attempt.answered_at is not None:
        return [(attempt.sent_at, text)]
    silence = f"Attempt {attempt.number}: {attempt.channel_id} has not answered."
    return [(attempt.sent_at, text), (attempt.sent_at, silence)]


def _answer(attempt: Attempt) -> Line:
    at = attempt.answered_at or attempt.sent_at
    name = f"Attempt {attempt.number}"
    if attempt.code == saga.FORCED:
        return at, f"{name}: {attempt.state} now, by a forced step."
    after = f" after {attempt.latency_ms} ms" if attempt.latency_ms else ""
    code = f" ({attempt.code})" if attempt.code else ""
    ref = f", its number {attempt.provider_ref}" if attempt.provider_ref else ""
    text = f"{name}: {attempt.channel_id} first answered{after}; known now: {attempt.state}"
    return at, f"{text}{code}{ref}."


def _follow_up(line: FollowUpLine) -> str:
    name = (
        f"{line.flow.capitalize()} {line.subject_id} of {_money(line.amount_minor, line.currency)}"
    )
    return f"{name} asked for; it is {line.state} now."


def _case(case: Case) -> list[Line]:
    lines = [(case.opened_at, f"Case {case.case_id} opened{_because(case.reason)}.")]
    if case.closed_at is not None:
        lines.append((case.closed_at, f"Case {case.case_id} closed{_because(case.resolution)}."))
    return lines


def _deed(deed: Deed) -> str:
    force_id, to_state = deed.detail.get("force_id", ""), deed.detail.get("to_state", "")
    note = _because(_short(str(deed.detail.get("note", ""))))
    match deed.action:
        case "FORCE_PROPOSED":
            return f"{deed.actor_id} proposed to force it to {to_state} ({force_id}){note}."
        case "FORCE_APPROVED":
            return f"{deed.actor_id} approved {force_id}{note}."
        case "FORCE_REJECTED":
            return f"{deed.actor_id} rejected {force_id}{note}."
        case "FORCE_APPLIED":
            return f"Forced to {to_state} as {force_id} says."
        case "FORCE_STALE":
            return f"{force_id} was not carried out: it had moved since the proposal."
        case "FORCE_REFUSED":
            return f"{force_id} was not carried out: its state does not allow it."
        case "SAGA_RETRIED":
            return f"{deed.actor_id} had it tried again."
        case _:
            return f"{deed.actor_id}: {deed.action}."


def _now(subject: Told, now: datetime) -> list[Line]:
    """How it stands, where that is not an end."""
    if subject.faults_count >= sagas.FAULTS_MAX:
        fault = _because(_short(subject.last_fault))
        text = f"In quarantine: taken up {subject.faults_count} times without a step{fault}."
        return [(now, text)]
    if subject.next_run_at is None:
        return []
    due = f"{subject.next_run_at:%Y-%m-%d %H:%M:%S} UTC"
    return [(now, f"Now {subject.state}{_because(subject.reason)}; due {due}.")]


def _callback(result: str) -> str:
    return _CALLBACKS.get(result, f"refused, {result}")


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _short(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= TEXT_MAX else f"{line[: TEXT_MAX - 1]}…"


def _money(amount_minor: int, currency: str) -> str:
    return f"{Money(currency, amount_minor).format()} {currency}"
