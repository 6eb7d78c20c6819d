"""What the log and the on-call hear of a story: money that moved late, each told once, and the cases that stand open for it."""

from dataclasses import dataclass, field
from typing import Any

from libs.saga.flow import Step
from services.gateway.domain.saga import Attempt, CloseCase, OpenCase


@dataclass
class Heard:
    """Of all subjects."""

    cases: set[tuple[str, str]] = field(default_factory=set)
    """(subject, why a person must look) of each open case."""
    late: set[str] = field(default_factory=set)
    """Attempts that moved money after their subject's end."""
    back: set[str] = field(default_factory=set)
    """Those of them whose money has come back."""

    def listen(self, step: "Step[Any, Attempt]") -> None:
        """A step as it was written."""
        for event in step.events:
            if event.endswith(".late_success"):
                self._tell(self.late, step)
            elif event.endswith(".late_return"):
                self._tell(self.back, step)
        assert self.back <= self.late
        for said in step.beside:
            if isinstance(said, OpenCase):
                self.cases.add((said.subject_id, said.reason))
            elif isinstance(said, CloseCase):
                reasons = {said.reason} if said.reason else {why for _, why in self.cases}
                self.cases -= {(said.subject_id, reason) for reason in reasons}

    def _tell(self, told: set[str], step: "Step[Any, Attempt]") -> None:
        attempt_id = step.attempts[-1].attempt_id
        assert attempt_id not in told, "told twice"
        told.add(attempt_id)
