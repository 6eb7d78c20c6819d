"""Matching a channel's day, and the differences that come and go by it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from libs.clock import Clock
from libs.db.pool import Connection, Pool
from libs.events import log as event_log
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from services.clearing.domain import matching
from services.clearing.domain.matching import Finding
from services.clearing.domain.model import Difference, DifferenceState
from services.clearing.store import differences as store
from services.clearing.store import items as item_store
from services.clearing.usecases.events import Events

# How many days an operation may stand in a bill before or after our own day of it (cut-off drift).
DRIFT_DAYS_MAX: Final = 3
VANISHED_BY: Final = "clearing"
VANISHED_NOTE: Final = "复核已一致: not found any more when the day was matched again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What one matching of a channel's day came to."""

    matched_count: int
    findings_count: int
    opened_count: int


class Matching:
    """Matches, and keeps differences."""

    def __init__(self, pool: Pool, events: Events, clock: Clock, ids: IdSource) -> None:
        """Ids are of prefix "diff"."""
        self._pool = pool
        self._events = events
        self._clock = clock
        self._ids = ids

    async def match(self, channel_id: str, day: date) -> Matched | None:
        """Match a channel's day, and neighbouring days to which operations drifted.

        One transaction. A difference is opened once, and resolved when it is not found any more.
        None when there is no accepted bill for the day.
        """
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            drifted = await store.adopt_drifted(connection, channel_id, day, days=DRIFT_DAYS_MAX)
            outcome = None
            for each in sorted({day, *drifted}):
                matched = await self._match_one(connection, channel_id, each, now)
                outcome = matched if each == day else outcome
        return outcome

    async def resolve(
        self, request_id: str, difference_id: str, *, actor: str, note: str
    ) -> Difference:
        """Close a difference with a note. Its item is settled with the next close.

        Idempotent by request_id. Raises DifferenceNotFound, DifferenceResolved, RequestIdReused.
        """
        now = self._clock.now()
        text = repr(("ResolveDifference", difference_id, actor, note))
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        async with self._pool.acquire() as connection, connection.transaction():
            made = await item_store.claim_request(
                connection, request_id, fingerprint, difference_id, now
            )
            if made is not None:
                return await store.get_difference(connection, made)
            resolved = await store.resolve_difference(
                connection, difference_id, actor=actor, note=note, now=now
            )
            await event_log.append(connection, [self._events.difference(resolved, now)])
        return resolved

    async def list_differences(
        self, day: date | None, state: DifferenceState | None, page: PageRequest
    ) -> Page[Difference]:
        """Differences by id. Raises InvalidPageToken."""
        async with self._pool.acquire() as connection:
            found = await store.list_differences(
                connection, day=day, state=state, after=page.after, limit=page.limit
            )
        return page.page(found, lambda difference: difference.difference_id)

    async def _match_one(
        self, connection: Connection, channel_id: str, day: date, now: datetime
    ) -> Matched | None:
        findings = await store.match_day(connection, channel_id, day)
        if findings is None:
            return None
        vanished = await store.resolve_vanished(
            connection,
            channel_id,
            day,
            findings,
            actor=VANISHED_BY,
            note=VANISHED_NOTE,
            now=now,
        )
        opened = await store.insert_differences(
            connection, self._differences(channel_id, day, findings, now)
        )
        events = [self._events.difference(each, now) for each in (*vanished, *opened)]
        await event_log.append(connection, events)
        return Matched(
            matched_count=await store.count_matched(connection, channel_id, day),
            findings_count=len(findings),
            opened_count=len(opened),
        )

    def _differences(
        self, channel_id: str, day: date, findings: Sequence[Finding], now: datetime
    ) -> list[Difference]:
        return [
            Difference(
                difference_id=self._ids.new("diff"),
                kind=finding.kind,
                channel_id=channel_id,
                business_date=day,
                item_kind=finding.item_kind,
                out_ref=finding.out_ref,
                subject_id=finding.subject_id,
                merchant_id=finding.merchant_id,
                our_currency=finding.our_currency,
                our_amount_minor=finding.our_amount_minor,
                channel_currency=finding.channel_currency,
                channel_amount_minor=finding.channel_amount_minor,
                line_number=finding.line_number,
                detail=matching.describe(finding),
                opened_at=now,
            )
            for finding in findings
        ]
