"""A capture (请款): takes all or part of what an authorised payment has reserved."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from services.gateway.domain.follow_up import FollowUp
from services.gateway.domain.saga import Attempt, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(FollowUp):
    """One order to take reserved money."""

    kind: ClassVar[str] = "capture"

    capture_id: str
    is_final: bool
    """It releases what it and earlier captures leave."""


CaptureStep: TypeAlias = Step[Capture, Attempt]
