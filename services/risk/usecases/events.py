"""What the feed tells about cases."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from libs.events.log import NewEvent
from libs.ids import IdSource
from services.risk.domain.model import Case, CaseState

PAYLOAD_TYPE: Final = "fisc.risk.v1.Case"
EVENT_TYPES: Final = {
    CaseState.OPEN: "case.opened",
    CaseState.APPROVED: "case.approved",
    CaseState.REJECTED: "case.rejected",
}


class CaseEvents:
    """Makes the events of cases.

    How a case is written on the wire is the handlers' business: they pass it in.
    """

    def __init__(self, ids: IdSource, encode: Callable[[Case], bytes]) -> None:
        """`encode` writes a case as a serialized PAYLOAD_TYPE."""
        self._ids = ids
        self._encode = encode

    def of(self, case: Case, now: datetime) -> NewEvent:
        """The event of the state the case is in."""
        return NewEvent(
            event_id=self._ids.new("evt"),
            type=EVENT_TYPES[case.state],
            merchant_id=case.evaluation.merchant_id,
            subject_id=case.case_id,
            occurred_at=now,
            payload=self._encode(case),
            payload_type=PAYLOAD_TYPE,
        )
