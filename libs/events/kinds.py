"""The types of all events that this release's services tell.

While a deploy is under way, one release reads what a later one has written. A consumer whose cursor its replicas share must not move it
past an event that it does not know: the later release's replica would never see it. So an older one stops there, and waits for it.
"""

import itertools
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol, TypeVar

from libs.errors import ErrorKind, FiscError

_TOLD: Final = {
    "payment": (
        "created rerouted pending review authorized succeeded failed canceled manual late_success"
    ),
    "capture": "created succeeded failed manual late_success",
    "refund": "created succeeded failed manual late_success",
    "payout": ("created review rerouted succeeded failed manual returned late_success late_return"),
    "case": "opened approved rejected",
    "batch": "settled",
    "difference": "opened resolved",
    "sweep": "done skipped failed canceled manual",
    "day": "closed",
}
KNOWN: Final = frozenset(
    f"{family}.{ending}" for family, endings in _TOLD.items() for ending in endings.split()
)


class EventTooNew(FiscError):
    """This event is of a later release; its replicas must go on from here."""

    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE
    reason: ClassVar[str] = "EVENT_TOO_NEW"


class Typed(Protocol):
    """An event, on whichever side of the wire."""

    @property
    def type(self) -> str: ...
    @property
    def event_id(self) -> str: ...


E = TypeVar("E", bound=Typed)


def known_part(events: Sequence[E]) -> Sequence[E]:
    """The events before the first one of a later release."""
    return list(itertools.takewhile(lambda event: event.type in KNOWN, events))


def check_known(events: Sequence[E]) -> None:
    """Raises EventTooNew when one of them is of a later release."""
    for event in events:
        if event.type not in KNOWN:
            raise EventTooNew(type=event.type, event_id=event.event_id)
