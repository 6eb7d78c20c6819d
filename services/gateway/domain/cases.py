"""Matters that stood or stand before a person, as they are listed."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A matter that a machine could not end by itself. Field names are the columns of its row."""

    case_id: str
    subject_id: str
    merchant_id: str
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    resolution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUpLine:
    """A capture or refund of a payment, in short."""

    flow: str
    subject_id: str
    amount_minor: int
    currency: str
    state: str
    created_at: datetime
