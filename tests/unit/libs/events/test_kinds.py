"""Which events this release knows, and how far one may go in a row of events of which it does not know all."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import ErrorKind
from libs.events import kinds
from libs.events.kinds import EventTooNew


@dataclass(frozen=True)
class Event:
    """As much of one as is looked at."""

    type: str
    event_id: str = "e1"


OURS = st.sampled_from(sorted(kinds.KNOWN))
THEIRS = st.sampled_from(["payment.split", "voucher.made", "payment", "", "payment.created.twice"])


@given(before=st.lists(OURS), stranger=THEIRS, behind=st.lists(st.one_of(OURS, THEIRS)))
def test_everything_before_the_first_event_of_a_later_release_is_ours_and_nothing_behind_it(
    before: list[str], stranger: str, behind: list[str]
) -> None:
    events = [Event(kind) for kind in (*before, stranger, *behind)]

    assert kinds.known_part(events) == events[: len(before)]
    with pytest.raises(EventTooNew) as refused:
        kinds.check_known(events)
    assert refused.value.metadata == {"type": stranger, "event_id": "e1"}


@given(ours=st.lists(OURS))
def test_what_is_known_whole_is_ours_whole(ours: list[str]) -> None:
    events = [Event(kind) for kind in ours]

    assert kinds.known_part(events) == events
    kinds.check_known(events)


def test_an_event_of_a_later_release_is_waited_for_and_is_nobodys_fault() -> None:
    assert (EventTooNew.kind, EventTooNew.reason) == (ErrorKind.UNAVAILABLE, "EVENT_TOO_NEW")
