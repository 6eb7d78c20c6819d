"""Operators' keys, forced steps, cases and the audit chain in Postgres. A change and its audit record are one transaction."""

from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from libs import audit
from libs.audit import NewRecord, Record, Verdict
from libs.db import queries
from libs.db.pool import Pool
from services.gateway.domain.cases import Case, FollowUpLine
from services.gateway.domain.forcing import Force, ForceState

_SQL = queries.load(Path(__file__).parent / "operators.sql")


class OperatorStore:
    """What the platform's people have done, and with which key."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_key(
        self,
        *,
        key_id: str,
        operator_id: str,
        request_id: str,
        secret_hash: str,
        record: NewRecord,
    ) -> bool:
        """False when this person has a key in force, or this request_id has made one."""
        async with self._pool.acquire() as connection, connection.transaction():
            inserted = await connection.fetchrow(
                _SQL["insert_operator_key"], key_id, operator_id, request_id, secret_hash, record.at
            )
            if inserted is not None:
                await audit.append(connection, record)
        return inserted is not None

    async def is_request_known(self, request_id: str) -> bool:
        return bool(await self._pool.fetchval(_SQL["is_operator_request_known"], request_id))

    async def get_key(self, key_id: str) -> tuple[str, str] | None:
        """(operator_id, secret_hash) of a key in force."""
        row = await self._pool.fetchrow(_SQL["get_operator_key"], key_id)
        return None if row is None else (row["operator_id"], row["secret_hash"])

    async def revoke(self, operator_id: str, record: NewRecord) -> bool:
        """Idempotent; recorded when it changes something. False when this person never had a key."""
        async with self._pool.acquire() as connection, connection.transaction():
            revoked = await connection.fetchrow(_SQL["revoke_operator_key"], operator_id, record.at)
            if revoked is not None:
                await audit.append(connection, record)
                return True
            return bool(await connection.fetchval(_SQL["is_operator_known"], operator_id))

    async def add_force(self, force: Force, record: NewRecord) -> Force:
        """Idempotent by request_id: answers the proposal that stands under it."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchrow(_SQL["insert_force"], [force]) is not None:
                await audit.append(connection, record)
                return force
            row = await connection.fetchrow(_SQL["find_force_by_request"], force.request_id)
        assert row is not None  # noqa: S101 - inserted above or there before
        return _force(row)

    async def find_force(self, request_id: str) -> Force | None:
        """The proposal that stands under it."""
        row = await self._pool.fetchrow(_SQL["find_force_by_request"], request_id)
        return None if row is None else _force(row)

    async def get_force(self, force_id: str) -> Force | None:
        row = await self._pool.fetchrow(_SQL["get_force"], force_id)
        return None if row is None else _force(row)

    async def write_decision(self, before: Force, after: Force, record: NewRecord) -> bool:
        """False when the proposal no longer stands as `before`; nothing is written or recorded then."""
        async with self._pool.acquire() as connection, connection.transaction():
            written = await connection.fetchrow(
                _SQL["decide_force"],
                before.force_id,
                before.checker_id,
                after.state.value,
                after.checker_id,
                after.decision_note,
                after.decided_at,
            )
            if written is not None:
                await audit.append(connection, record)
        return written is not None

    async def is_superseded(self, force: Force) -> bool:
        """Whether another proposal was applied to the same subject after this one was made."""
        return bool(
            await self._pool.fetchval(
                _SQL["is_force_superseded"],
                force.subject_id,
                force.force_id,
                force.subject_version,
            )
        )

    async def list_forces(self, state: str, before: str, limit: int) -> list[Force]:
        """Newest first; "" for every state, "" for from the newest."""
        rows = await self._pool.fetch(_SQL["list_forces"], state, before, limit)
        return [_force(row) for row in rows]

    async def list_cases(
        self, *, only_open: bool, before: tuple[datetime, str] | None, limit: int
    ) -> list[Case]:
        """Newest first; `before` is the (opened_at, case_id) to go on from."""
        opened_at, case_id = before or (None, "")
        rows = await self._pool.fetch(_SQL["list_cases"], only_open, opened_at, case_id, limit)
        return [Case(**dict(row)) for row in rows]

    async def cases_of(self, subject_id: str) -> list[Case]:
        rows = await self._pool.fetch(_SQL["cases_of"], subject_id)
        return [Case(**dict(row)) for row in rows]

    async def follow_ups_of(self, payment_id: str, limit: int) -> list[FollowUpLine]:
        """The captures and refunds of a payment, oldest first."""
        rows = await self._pool.fetch(_SQL["follow_ups_of"], payment_id, limit)
        return [FollowUpLine(**dict(row)) for row in rows]

    async def add_record(self, record: NewRecord) -> None:
        """For what was done in a transaction of its own, right after it."""
        async with self._pool.acquire() as connection, connection.transaction():
            await audit.append(connection, record)

    async def list_records(self, subject_id: str, before_number: int, limit: int) -> list[Record]:
        """Newest first; "" for every subject, 0 for from the newest."""
        async with self._pool.acquire() as connection:
            return await audit.page(
                connection, subject_id=subject_id, before_number=before_number, limit=limit
            )

    async def check_chain(self) -> Verdict:
        async with self._pool.acquire() as connection:
            return await audit.check(connection)


def _force(row: asyncpg.Record) -> Force:
    values: dict[str, Any] = dict(row)
    return Force(**{**values, "state": ForceState(row["state"])})
