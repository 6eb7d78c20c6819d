"""The gateway's other stores over the database in memory: inbox, event log, cursors, keys, channels, and what people did."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast

import asyncpg
from typing_extensions import override

from libs import audit
from libs.audit import NewRecord, Record, Verdict
from libs.db.pool import Pool
from libs.events.log import StoredEvent
from services.gateway.domain.cases import Case
from services.gateway.domain.forcing import Force, ForceState
from services.gateway.domain.merchant import ChannelAccount, Merchant, StoredChannel
from services.gateway.store.operators import OperatorStore
from services.gateway.store.registry import Registry
from tests.simulation.database import Database
from tests.simulation.stores import Carry, at_once

T = TypeVar("T")

_NO_POOL = cast(Pool, None)
ZONE = "Asia/Shanghai"


async def _write(database: Database, carry: Carry, operation: str, write: Callable[[], T]) -> T:
    def transact() -> T:
        with database.transaction():
            return write()

    return await carry(operation, transact)


class MemoryRegistry(Registry):
    """The callback inbox, the event log and its cursors; merchants, their keys, and channels as they were set up."""

    def __init__(
        self,
        database: Database,
        carry: Carry = at_once,
        *,
        merchants: Mapping[str, Merchant] | None = None,
        keys: Mapping[str, tuple[str, str]] | None = None,
        channels: Mapping[str, Any] | None = None,
        on_read: Callable[[str], None] = lambda cursor: None,
    ) -> None:
        """`keys`: key_id to (merchant_id, secret_hash)."""
        super().__init__(_NO_POOL)
        self._database = database
        self._carry = carry
        self._merchants = merchants or {}
        self._keys = keys or {}
        self._channels = sorted(channels or {})
        self._on_read = on_read

    @override
    async def get_merchant(self, merchant_id: str) -> Merchant | None:
        return await self._carry("load", lambda: self._merchants.get(merchant_id))

    @override
    async def get_api_key(self, key_id: str) -> tuple[str, str] | None:
        return await self._carry("load", lambda: self._keys.get(key_id))

    @override
    async def list_channels(self, after: str, limit: int) -> list[StoredChannel]:
        def find() -> list[StoredChannel]:
            return [_channel(each) for each in self._channels if each > after][:limit]

        return await self._carry("load", find)

    @override
    async def get_channel(self, channel_id: str) -> StoredChannel | None:
        def find() -> StoredChannel | None:
            return _channel(channel_id) if channel_id in self._channels else None

        return await self._carry("load", find)

    @override
    async def receive_callback(
        self, channel_id: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> int:
        receive = partial(self._database.receive, channel_id, body, now)
        return await _write(self._database, self._carry, "receive", receive)

    @override
    async def settle_callback(
        self, inbox_id: int, *, event_id: str, out_ref: str, result: str
    ) -> None:
        settle = partial(self._database.settle, inbox_id, event_id, out_ref, result)
        await _write(self._database, self._carry, "settle", settle)

    @override
    async def is_callback_applied(self, channel_id: str, event_id: str) -> bool:
        return await self._carry("load", partial(self._database.is_applied, channel_id, event_id))

    @override
    async def callbacks_of(self, channel_id: str, out_ref: str) -> list[tuple[datetime, str]]:
        return [
            (row.received_at, row.result)
            for row in self._database.inbox.values()
            if (row.channel_id, row.out_ref) == (channel_id, out_ref)
        ]

    @override
    async def read_events(self, cursor: str, limit: int) -> list[StoredEvent]:
        self._on_read(cursor)
        return await self._carry("load", partial(self._database.read, cursor, limit))

    @override
    async def get_cursor(self, consumer: str) -> str:
        return await self._carry("load", lambda: self._database.cursors.get(consumer, ""))

    @override
    async def move_cursor(self, consumer: str, before: str, after: str) -> str:
        move = partial(self._database.move_cursor, consumer, before, after)
        return await _write(self._database, self._carry, "cursor", move)


class MemoryOperators(OperatorStore):
    """Forced steps, cases and the audit chain."""

    def __init__(self, database: Database, carry: Carry = at_once) -> None:
        super().__init__(_NO_POOL)
        self._database = database
        self._carry = carry

    @override
    async def add_force(self, force: Force, record: NewRecord) -> Force:
        return await self._write("force", partial(self._add_force, force, record))

    def _add_force(self, force: Force, record: NewRecord) -> Force:
        database = self._database
        known = self._find_force(force.request_id)
        if known is not None:
            return known
        check_force(force)
        database.put(database.forces, force.force_id, force)
        database.record(record)
        return force

    @override
    async def find_force(self, request_id: str) -> Force | None:
        return await self._carry("load", partial(self._find_force, request_id))

    def _find_force(self, request_id: str) -> Force | None:
        forces = self._database.forces.values()
        return next((each for each in forces if each.request_id == request_id), None)

    @override
    async def get_force(self, force_id: str) -> Force | None:
        return await self._carry("load", lambda: self._database.forces.get(force_id))

    @override
    async def write_decision(self, before: Force, after: Force, record: NewRecord) -> bool:
        return await self._write("decide", partial(self._decide, before, after, record))

    def _decide(self, before: Force, after: Force, record: NewRecord) -> bool:
        database = self._database
        known = database.forces[before.force_id]
        if known.state is not ForceState.PROPOSED or known.checker_id != before.checker_id:
            return False
        check_force(after)
        database.put(database.forces, after.force_id, after)
        database.record(record)
        return True

    @override
    async def is_superseded(self, force: Force) -> bool:
        return await self._carry(
            "load",
            lambda: any(
                other.subject_id == force.subject_id
                and other.force_id != force.force_id
                and other.state is ForceState.APPLIED
                and other.subject_version >= force.subject_version
                for other in self._database.forces.values()
            ),
        )

    @override
    async def list_forces(self, state: str, before: str, limit: int) -> list[Force]:
        found = [
            force
            for _, force in sorted(self._database.forces.items(), reverse=True)
            if state in {"", force.state.value} and (not before or force.force_id < before)
        ]
        return found[:limit]

    @override
    async def list_cases(
        self, *, only_open: bool, before: tuple[datetime, str] | None, limit: int
    ) -> list[Case]:
        found = [
            case
            for case in self._database.cases.values()
            if (not only_open or case.closed_at is None)
            and (before is None or (case.opened_at, case.case_id) < before)
        ]
        return sorted(found, key=lambda case: (case.opened_at, case.case_id), reverse=True)[:limit]

    @override
    async def cases_of(self, subject_id: str) -> list[Case]:
        found = [case for case in self._database.cases.values() if case.subject_id == subject_id]
        return sorted(found, key=lambda case: (case.opened_at, case.case_id))

    @override
    async def add_record(self, record: NewRecord) -> None:
        await self._write("record", partial(self._database.record, record))

    @override
    async def list_records(self, subject_id: str, before_number: int, limit: int) -> list[Record]:
        found = [
            record
            for record in reversed(self._database.records)
            if subject_id in {"", record.subject_id}
            and (not before_number or record.number < before_number)
        ]
        return found[:limit]

    @override
    async def check_chain(self) -> Verdict:
        return audit.Verdict().after(self._database.records)

    async def _write(self, operation: str, write: Callable[[], T]) -> T:
        return await _write(self._database, self._carry, operation, write)


def _channel(channel_id: str) -> StoredChannel:
    return StoredChannel(
        account=ChannelAccount(
            channel_id=channel_id, provider="sim", base_url="", currencies=(), zone=ZONE
        ),
        credential_names=(),
        sealed_credentials=b"",
        updated_at=datetime.min,  # noqa: DTZ901 -- nobody reads it here
    )


def check_force(force: Force) -> None:
    """The constraints of the table. Raises CheckViolationError."""
    is_over = force.state is not ForceState.PROPOSED
    if force.checker_id == force.maker_id or (
        is_over and not (force.checker_id and force.decided_at)
    ):
        raise asyncpg.CheckViolationError(f"{force.force_id} by {force.checker_id}")
