"""What is known, for people who look into something."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson

from libs.clock import Clock
from libs.saga.table import BacklogLine
from services.gateway.domain import narrative, stuck
from services.gateway.domain.errors import SubjectNotFound
from services.gateway.domain.narrative import Deed, Sources
from services.gateway.domain.saga import Attempt
from services.gateway.store.operators import OperatorStore
from services.gateway.store.registry import Registry

# A history is read by a person: what is beyond these is looked up by itself.
FOLLOW_UPS_MAX = 100
DEEDS_MAX = 200
PUSH_CONSUMERS = ("push-account", "push-router", "push-risk")


class Rows(Protocol):
    """One flow's subjects."""

    async def load(self, subject_id: str) -> tuple[Any, tuple[Attempt, ...]] | None:
        """The subject and its attempts, oldest first."""
        ...


class History(Protocol):
    """What was told of all flows."""

    async def history(self, subject_id: str) -> list[tuple[datetime, str]]:
        """(when, event type) of everything told about a subject."""
        ...

    async def backlog(self) -> list[BacklogLine]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything known of one subject."""

    flow: str
    subject: Any
    attempts: tuple[Attempt, ...]
    history: list[tuple[datetime, str]]


class Inspection:
    """Looks, and changes nothing."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: History,
        rows: Mapping[str, Rows],
        operators: OperatorStore,
        clock: Clock,
    ) -> None:
        """`rows` by flow: payment, capture, refund, payout."""
        self._registry = registry
        self._store = store
        self._rows = rows
        self._operators = operators
        self._clock = clock

    async def evidence(self, subject_id: str) -> Evidence:
        """Raises SubjectNotFound."""
        flow = stuck.flow_of(subject_id)
        rows = self._rows.get(flow)
        loaded = None if rows is None else await rows.load(subject_id)
        if loaded is None:
            raise SubjectNotFound(field="subject_id")
        subject, attempts = loaded
        follow_ups = (
            await self._operators.follow_ups_of(subject_id, FOLLOW_UPS_MAX)
            if flow == "payment"
            else []
        )
        sources = Sources(
            flow=flow,
            subject=subject,
            attempts=attempts,
            events=await self._store.history(subject_id),
            callbacks=[
                (at, attempt.number, result)
                for attempt in attempts
                for at, result in await self._registry.callbacks_of(
                    attempt.channel_id, attempt.out_ref
                )
            ],
            follow_ups=follow_ups,
            cases=await self._operators.cases_of(subject_id),
            deeds=await self._deeds(subject_id),
        )
        return Evidence(
            flow=flow,
            subject=subject,
            attempts=attempts,
            history=narrative.tell(sources, self._clock.now()),
        )

    async def backlog(self) -> tuple[list[BacklogLine], int]:
        """What has not ended, and how many events wait to be pushed."""
        return await self._store.backlog(), await self._registry.count_unpushed(PUSH_CONSUMERS)

    async def _deeds(self, subject_id: str) -> list[Deed]:
        records = await self._operators.list_records(subject_id, 0, DEEDS_MAX)
        return [
            Deed(
                at=record.at,
                actor_id=record.actor_id,
                action=record.action,
                detail=orjson.loads(record.detail),
            )
            for record in reversed(records)
        ]
