"""Reads, and one transaction at a time for what must hold together."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from libs.db import queries
from libs.events import log as event_log
from services.risk.domain import errors
from services.risk.domain.model import (
    Case,
    CaseState,
    DayKey,
    DayTotal,
    Decision,
    Evaluation,
    ListEntry,
    ListName,
    Outcome,
    Rule,
    RuleBook,
    SubjectKind,
)
from services.risk.store import rows

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = (
        asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    )

SQL: Final = queries.load(Path(__file__).parent / "store.sql")
_TEXT_ERRORS: Final = (
    asyncpg.CharacterNotInRepertoireError,
    asyncpg.UntranslatableCharacterError,
)


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision, and what it was about."""

    evaluation: Evaluation
    decision: Decision


@dataclass(frozen=True, slots=True)
class HeldDay:
    """A row of day totals, locked by the transaction, with what it holds now."""

    day_total_id: int
    total: DayTotal


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A change that was made before under the same request_id."""

    fingerprint: str
    resource_id: str


class Store:
    """Risk's database."""

    def __init__(self, pool: "Pool") -> None:
        """The pool stays the caller's to close."""
        self._pool = pool

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """One transaction; committed at the end of the block, rolled back by what it raises.

        Raises BadText for a text that Postgres cannot hold.
        """
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                yield Transaction(connection)
        except _TEXT_ERRORS as error:
            raise errors.BadText from error

    async def is_ready(self) -> bool:
        """Whether the database answers; raises what the driver raises if not."""
        return await self._pool.fetchval("SELECT true") is True

    async def revision(self) -> int:
        """The revision of rules and lists."""
        revision: int = await self._pool.fetchval(SQL["read_revision"])
        return revision

    async def rule_book(self, now: datetime) -> RuleBook:
        """Enabled rules and entries in force, as of one moment."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            revision = await connection.fetchval(SQL["read_revision"])
            rules = await connection.fetch(SQL["read_enabled_rules"])
            entries = await connection.fetch(SQL["read_entries_in_force"], now)
        by_subject: dict[tuple[SubjectKind, str], list[ListEntry]] = defaultdict(list)
        for entry in map(rows.entry_of, entries):
            by_subject[entry.kind, entry.value].append(entry)
        return RuleBook(
            revision=revision, rules=tuple(map(rows.rule_of, rules)), entries=dict(by_subject)
        )

    async def decisions(self, evaluation_ids: Sequence[str]) -> dict[str, RecordedDecision]:
        """The decisions recorded for these evaluations, by evaluation_id."""
        found = await self._pool.fetch(SQL["read_decisions"], evaluation_ids)
        return {
            row["evaluation_id"]: RecordedDecision(rows.evaluation_of(row), rows.decision_of(row))
            for row in found
        }

    async def rules(self, after: str, limit: int) -> list[Rule]:
        """Current versions, by id."""
        return list(map(rows.rule_of, await self._fetch("list_rules", after, limit)))

    async def entries(
        self, list_name: ListName | None, now: datetime, after: str, limit: int
    ) -> list[ListEntry]:
        """Entries in force, by id."""
        found = await self._fetch("list_entries", after, list_name or 0, now, limit)
        return list(map(rows.entry_of, found))

    async def cases(self, state: CaseState | None, after: str, limit: int) -> list[Case]:
        """Cases, oldest first."""
        return list(map(rows.case_of, await self._fetch("list_cases", after, state or 0, limit)))

    async def case(self, case_id: str) -> Case:
        """One case. Raises CaseNotFound."""
        found = await self._fetch("read_case", case_id)
        if not found:
            raise errors.CaseNotFound(field="case_id")
        return rows.case_of(found[0])

    async def _fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        try:
            return await self._pool.fetch(SQL[query], *arguments)
        except _TEXT_ERRORS as error:
            raise errors.BadText from error


class Transaction:
    """What may be done inside one transaction.

    Day totals are locked before anything waits for them.
    """

    def __init__(self, connection: "Connection") -> None:
        """Of Store.transaction, which begins and ends it."""
        self._connection = connection

    async def add_day_totals(self, additions: Mapping[DayKey, DayTotal]) -> dict[DayKey, HeldDay]:
        """Add to each total in one statement; the rows stay locked. Returns what they hold now."""
        if not additions:
            return {}
        keys = list(additions)
        found = await self._connection.fetch(
            SQL["add_day_totals"],
            [key.day for key in keys],
            [key.merchant_scope for key in keys],
            [key.operation_scope for key in keys],
            [key.subject_kind for key in keys],
            [key.subject for key in keys],
            [key.currency_scope for key in keys],
            [additions[key].amount_minor for key in keys],
            [additions[key].count for key in keys],
        )
        return {
            DayKey(
                row["day"],
                row["merchant_scope"],
                row["operation_scope"],
                row["subject_kind"],
                row["subject"],
                row["currency_scope"],
            ): HeldDay(row["day_total_id"], DayTotal(int(row["amount_minor"]), row["count"]))
            for row in found
        }

    async def give_back(self, amounts: Iterable[tuple[int, DayTotal]]) -> None:
        """Subtract from day totals, each named by its id, as often as it is named."""
        given: dict[int, DayTotal] = {}
        for day_total_id, amount in amounts:
            before = given.get(day_total_id, DayTotal())
            given[day_total_id] = DayTotal(
                before.amount_minor + amount.amount_minor, before.count + amount.count
            )
        if not given:
            return
        await self._connection.execute(SQL["lock_day_totals"], list(given))
        await self._connection.execute(
            SQL["subtract_day_totals"],
            list(given),
            [total.amount_minor for total in given.values()],
            [total.count for total in given.values()],
        )

    async def insert_decisions(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Record decisions (rows.decision_record).

        Raises DecisionContended when somebody else has recorded one of the same evaluations; the
        transaction can then do no more.
        """
        try:
            await self._connection.copy_records_to_table(
                "decision",
                columns=rows.DECISION_COLUMNS,
                records=sorted(records),
            )
        except asyncpg.UniqueViolationError as error:
            raise errors.DecisionContended from error

    async def insert_cases(self, cases: Sequence[Case], now: datetime) -> None:
        """Open cases."""
        if cases:
            await self._connection.execute(
                SQL["insert_cases"],
                [case.case_id for case in cases],
                [case.evaluation.evaluation_id for case in cases],
                now,
            )

    async def append_events(self, events: Sequence[event_log.NewEvent]) -> None:
        """Tell the feed, with this transaction."""
        await event_log.append(self._connection, events)

    async def record_outcomes(self, outcomes: Mapping[str, Outcome]) -> int:
        """Record outcomes not known yet, give back the days of what failed; returns how many."""
        found = await self._connection.fetch(SQL["lock_undecided_outcomes"], list(outcomes))
        if not found:
            return 0
        await self._connection.execute(
            SQL["set_outcomes"],
            [row["evaluation_id"] for row in found],
            [outcomes[row["evaluation_id"]].succeeded for row in found],
        )
        failed = [row for row in found if not outcomes[row["evaluation_id"]].succeeded]
        await self.give_back(_held_days(failed))
        return len(found)

    async def give_back_evaluation(self, evaluation_id: str) -> None:
        """Give back the days of one operation; nothing happens when that was done before."""
        held = await self._connection.fetch(SQL["lock_held_days"], evaluation_id)
        await self._connection.execute(SQL["clear_held_days"], evaluation_id)
        await self.give_back(_held_days(held))

    async def lock_case(self, case_id: str) -> Case:
        """The case, which nobody else can decide until the end. Raises CaseNotFound."""
        await self._connection.execute(SQL["lock_case"], case_id)
        found = await self._connection.fetchrow(SQL["read_case"], case_id)
        if found is None:
            raise errors.CaseNotFound(field="case_id")
        return rows.case_of(found)

    async def update_case(self, case: Case) -> None:
        """Write state, decider, note and time."""
        await self._connection.execute(
            SQL["set_case"], case.case_id, case.state, case.decided_by, case.note, case.decided_at
        )

    async def bump_revision(self) -> None:
        """Announce a change of rules or lists; such changes are serialised from here on."""
        await self._connection.execute(SQL["bump_revision"])

    async def request(self, rpc: str, request_id: str) -> RecordedRequest | None:
        """The change made before under this request_id."""
        row = await self._connection.fetchrow(SQL["read_request"], rpc, request_id)
        return None if row is None else RecordedRequest(row["fingerprint"], row["resource_id"])

    async def insert_request(
        self, rpc: str, request_id: str, recorded: RecordedRequest, now: datetime
    ) -> None:
        """Remember a change.

        Raises RequestIdReused when another one was faster with this request_id.
        """
        try:
            await self._connection.execute(
                SQL["insert_request"],
                rpc,
                request_id,
                recorded.fingerprint,
                recorded.resource_id,
                now,
            )
        except asyncpg.UniqueViolationError as error:
            raise errors.RequestIdReused(field="request_id") from error

    async def insert_rule(self, rule: Rule, now: datetime) -> Rule:
        """Write the next version; call bump_revision first."""
        kind, subject_kind, amount_maximum_minor, count_maximum, window_s = rows.check_columns(
            rule.check
        )
        row = await self._connection.fetchrow(
            SQL["insert_rule"],
            rule.rule_id,
            rule.merchant_id,
            rule.operation or 0,
            rule.currency,
            rule.verdict,
            rule.enabled,
            kind,
            subject_kind,
            amount_maximum_minor,
            count_maximum,
            window_s,
            rule.description,
            now,
        )
        return _rule(row)

    async def rule_version(self, rule_id: str, version: int) -> Rule:
        """One version, current or not; it must exist."""
        row = await self._connection.fetchrow(SQL["read_rule_version"], rule_id, version)
        return _rule(row)

    async def insert_entry(self, entry: ListEntry, now: datetime) -> None:
        """Put a subject on a list."""
        await self._connection.execute(
            SQL["insert_entry"],
            entry.entry_id,
            entry.list_name,
            entry.kind,
            entry.value,
            entry.merchant_id,
            entry.note,
            entry.expires_at,
            now,
        )

    async def entry(self, entry_id: str) -> ListEntry:
        """One entry, in force or not. Raises EntryNotFound."""
        row = await self._connection.fetchrow(SQL["read_entry"], entry_id)
        if row is None:
            raise errors.EntryNotFound(field="entry_id")
        return rows.entry_of(row)

    async def remove_entry(self, entry_id: str, now: datetime) -> None:
        """Take it off; once removed it stays so. Raises EntryNotFound."""
        if await self._connection.fetchval(SQL["remove_entry"], entry_id, now) is None:
            raise errors.EntryNotFound(field="entry_id")


def _rule(row: asyncpg.Record | None) -> Rule:
    if row is None:
        raise RuntimeError("a rule version that was written is gone")
    return rows.rule_of(row)


def _held_days(found: Iterable[asyncpg.Record]) -> list[tuple[int, DayTotal]]:
    return [
        (day_total_id, DayTotal(row["amount_minor"], 1))
        for row in found
        for day_total_id in row["held_day_total_ids"]
    ]
