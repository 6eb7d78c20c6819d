"""Everything the gateway knows of one payment, refund or payout."""

from dataclasses import dataclass
from datetime import datetime

from services.cockpit.domain.facts import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One thing that happened, in one sentence."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A subject (with every attempt) and its history, oldest first."""

    subject: Fact
    history: tuple[HistoryLine, ...]
    description: str = ""
    refunded_minor: int = 0
