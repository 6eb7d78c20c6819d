"""What clearing's own event log tells. How it is written on the wire is the handlers' business."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.events.log import NewEvent
from libs.ids import IdSource
from libs.saga.flow import Step
from services.clearing.domain.model import Batch, DayReport, Difference, DifferenceState
from services.clearing.domain.sweeping import Sweep

BATCH_TYPE: Final = "fisc.clearing.v1.Batch"
DIFFERENCE_TYPE: Final = "fisc.clearing.v1.Difference"
DAY_TYPE: Final = "fisc.clearing.v1.DayReport"
SWEEP_TYPE: Final = "fisc.clearing.v1.Sweep"
_DIFFERENCE_EVENTS: Final = {
    DifferenceState.OPEN: "difference.opened",
    DifferenceState.RESOLVED: "difference.resolved",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoders:
    """Each writes its subject as a serialized message of the type named above."""

    batch: Callable[[Batch], bytes]
    difference: Callable[[Difference], bytes]
    day: Callable[[DayReport], bytes]
    sweep: Callable[[Sweep], bytes]


class Events:
    """Makes events."""

    def __init__(self, ids: IdSource, encoders: Encoders) -> None:
        """Ids are of prefix "evt"."""
        self._ids = ids
        self._encoders = encoders

    def of_batch(self, step: Step[Batch, None]) -> list[NewEvent]:
        """What a batch's step tells."""
        batch = step.subject
        return [
            NewEvent(
                event_id=self._ids.new("evt"),
                type=event,
                merchant_id=batch.merchant_id,
                subject_id=batch.batch_id,
                occurred_at=batch.updated_at,
                payload=self._encoders.batch(batch),
                payload_type=BATCH_TYPE,
            )
            for event in step.events
        ]

    def of_sweep(self, step: Step[Sweep, None]) -> list[NewEvent]:
        """What a sweep's step tells."""
        sweep = step.subject
        return [
            NewEvent(
                event_id=self._ids.new("evt"),
                type=event,
                merchant_id="",
                subject_id=sweep.sweep_id,
                occurred_at=sweep.updated_at,
                payload=self._encoders.sweep(sweep),
                payload_type=SWEEP_TYPE,
            )
            for event in step.events
        ]

    def difference(self, difference: Difference, now: datetime) -> NewEvent:
        """A difference came to the state it is in."""
        return NewEvent(
            event_id=self._ids.new("evt"),
            type=_DIFFERENCE_EVENTS[difference.state],
            merchant_id=difference.merchant_id,
            subject_id=difference.difference_id,
            occurred_at=now,
            payload=self._encoders.difference(difference),
            payload_type=DIFFERENCE_TYPE,
        )

    def day_closed(self, report: DayReport, now: datetime) -> NewEvent:
        """A day is closed."""
        return NewEvent(
            event_id=self._ids.new("evt"),
            type="day.closed",
            merchant_id="",
            subject_id=report.business_date.isoformat(),
            occurred_at=now,
            payload=self._encoders.day(report),
            payload_type=DAY_TYPE,
        )
