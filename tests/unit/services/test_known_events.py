"""Whatever any of this release's services tells is known to all of them; each flow's own are checked where its steps are."""

from types import SimpleNamespace
from typing import Any, cast

from libs.events import kinds
from services.clearing.domain.model import DifferenceState
from services.clearing.usecases.events import Encoders, Events
from services.gateway.workers.review_ear import DECIDED
from services.notification.domain.notice import EVENT_TYPES
from services.risk.domain.model import CaseState
from services.risk.usecases.events import CaseEvents
from tests.unit.services.clearing.books import DAY, NOON


class Ids:
    """One is enough."""

    def new(self, prefix: str) -> str:
        return f"{prefix}_1"


def nothing(subject: object) -> bytes:
    return b""


def test_what_clearing_tells_of_its_differences_and_days_is_known() -> None:
    events = Events(Ids(), Encoders(batch=nothing, difference=nothing, day=nothing, sweep=nothing))
    differences: list[Any] = [
        SimpleNamespace(state=state, merchant_id="m", difference_id="d")
        for state in DifferenceState
    ]

    told = [events.difference(each, NOON).type for each in differences]
    told.append(events.day_closed(cast(Any, SimpleNamespace(business_date=DAY)), NOON).type)

    assert len(set(told)) == len(DifferenceState) + 1
    assert kinds.KNOWN.issuperset(told)


def test_what_risk_tells_of_its_cases_is_known() -> None:
    events = CaseEvents(Ids(), nothing)
    cases: list[Any] = [
        SimpleNamespace(state=state, evaluation=SimpleNamespace(merchant_id="m"), case_id="c")
        for state in CaseState
    ]

    assert kinds.KNOWN.issuperset(events.of(each, NOON).type for each in cases)


def test_what_is_listened_for_is_known() -> None:
    assert kinds.KNOWN.issuperset(EVENT_TYPES | DECIDED)
