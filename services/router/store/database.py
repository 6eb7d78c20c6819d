"""All SQL of the router. Functions take the connection of the caller's transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg

from libs.db import queries
from services.router.domain import errors, statistics
from services.router.domain.channel import (
    Channel,
    ChannelStatus,
    FeeSchedule,
    Method,
    Operation,
)
from services.router.domain.plan import Decision, Plan
from services.router.domain.statistics import Arm, ArmKey, BucketKey, Counts, Outcome, Recent
from services.router.store import plan_archive

# Quoted, because only the stubs of asyncpg are generic.
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# Each attempt loses only to somebody who recorded one of the same keys meanwhile.
RECORD_ATTEMPTS_MAX: Final = 4
_DECISION_COLUMNS: Final = (
    "route_key",
    "merchant_id",
    "currency",
    "amount_minor",
    "method",
    "operation",
    "packed_plan",
    "decided_at",
)
_OUTCOME_COLUMNS: Final = (
    "attempt_id",
    "channel_id",
    "method",
    "operation",
    "succeeded",
    "business_decline",
    "latency_ms",
    "code",
    "occurred_at",
)
_SQL: Final = queries.load(Path(__file__).parent / "store.sql")


async def list_channels(connection: Connection, *, after_id: str, limit: int) -> list[Channel]:
    """Channels in order of their ids, from the first behind after_id."""
    return [_channel(row) for row in await connection.fetch(_SQL["list_channels"], after_id, limit)]


async def all_channels(connection: Connection) -> list[Channel]:
    """Every channel."""
    return [_channel(row) for row in await connection.fetch(_SQL["all_channels"])]


async def get_channel(connection: Connection, channel_id: str) -> Channel:
    """One channel, or ChannelNotFound."""
    row = await connection.fetchrow(_SQL["get_channel"], channel_id)
    if row is None:
        raise errors.ChannelNotFound(channel_id=channel_id)
    return _channel(row)


async def put_channel(connection: Connection, channel: Channel, now: datetime) -> Channel:
    """Create or replace.

    Raises EtagMismatch if the channel has an etag and it is not the current one.
    """
    if channel.etag:
        current = await connection.fetchval(_SQL["lock_channel_version"], channel.channel_id)
        if current is None or _etag(current) != channel.etag:
            raise errors.EtagMismatch(field="channel.etag", channel_id=channel.channel_id)
    version = await connection.fetchval(
        _SQL["put_channel"],
        channel.channel_id,
        channel.provider,
        channel.display_name,
        channel.status,
        channel.methods,
        channel.operations,
        channel.currencies,
        channel.amount_minimum_minor,
        channel.amount_maximum_minor,
        channel.fee.rate_ppm,
        channel.fee.fixed_minor,
        channel.fee.minimum_minor,
        channel.fee.maximum_minor,
        channel.zone,
        channel.cut_off,
        channel.static_rank,
        now,
    )
    return replace(channel, etag=_etag(version))


async def set_channel_status(
    connection: Connection, channel_id: str, status: ChannelStatus, now: datetime
) -> Channel:
    """Change the status, or raise ChannelNotFound."""
    row = await connection.fetchrow(_SQL["set_channel_status"], channel_id, status, now)
    if row is None:
        raise errors.ChannelNotFound(channel_id=channel_id)
    return _channel(row)


async def claim_request(
    connection: Connection, request_id: str, fingerprint: str, now: datetime
) -> Channel | None:
    """None if the request is new and is now ours to do, else the answer it got.

    Waits for a concurrent holder of the same id. Raises RequestIdReused if the id belongs to
    another request.
    """
    if await connection.fetchval(_SQL["claim_request"], request_id, fingerprint, now) is not None:
        return None
    (row,) = await connection.fetch(_SQL["get_request"], request_id)
    if row["fingerprint"] != fingerprint:
        raise errors.RequestIdReused(field="request_id")
    return _channel_from_json(row["answer"])


async def answer_request(connection: Connection, request_id: str, answer: Channel) -> None:
    """Keep the answer of a claimed request."""
    await connection.execute(_SQL["answer_request"], request_id, answer)


async def record_decisions(
    connection: Connection, decisions: Mapping[str, Decision]
) -> dict[str, Decision]:
    """Record what is new; return what these route keys held before.

    All are taken for new at first, as they nearly always are: to ask for each in advance would cost
    every payment something. A statement that meets a known key writes nothing, and is done again
    without it; another one must have been recorded meanwhile for that to fail too. Raises
    Contended when that happens again and again.
    """
    known: dict[str, Decision] = {}
    for _ in range(RECORD_ATTEMPTS_MAX):
        new = [decisions[route_key] for route_key in sorted(decisions.keys() - known.keys())]
        try:
            await _insert_decisions(connection, new)
        except asyncpg.UniqueViolationError:
            known = await get_decisions(connection, decisions.keys())
        else:
            return known
    raise errors.Contended


async def _insert_decisions(connection: Connection, new: Sequence[Decision]) -> None:
    await connection.copy_records_to_table(
        "decision",
        columns=_DECISION_COLUMNS,
        records=[
            (
                each.plan.route_key,
                each.merchant_id,
                each.currency,
                each.amount_minor,
                each.method,
                each.operation,
                plan_archive.pack(each.plan),
                each.plan.decided_at,
            )
            for each in new
        ],
    )


async def get_decisions(connection: Connection, route_keys: Collection[str]) -> dict[str, Decision]:
    """The recorded decisions of these keys."""
    rows = await connection.fetch(_SQL["get_decisions"], list(route_keys))
    return {row["route_key"]: _decision(row) for row in rows}


async def insert_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Record outcomes, all of them new. Raises UniqueViolationError if one is known."""
    await connection.copy_records_to_table(
        "outcome",
        columns=_OUTCOME_COLUMNS,
        records=[
            (
                each.attempt_id,
                each.arm.channel_id,
                each.arm.method,
                each.arm.operation,
                each.succeeded,
                each.business_decline,
                each.latency_ms,
                each.code,
                each.occurred_at,
            )
            for each in sorted(outcomes, key=lambda outcome: outcome.attempt_id)
        ],
    )


async def known_outcomes(connection: Connection, attempt_ids: Collection[str]) -> set[str]:
    """Those of the attempts whose outcome is recorded."""
    rows = await connection.fetch(_SQL["known_outcomes"], list(attempt_ids))
    return {row["attempt_id"] for row in rows}


async def add_minutes(connection: Connection, sums: Mapping[BucketKey, Counts]) -> None:
    """Add to the long memory."""
    await connection.execute(
        _SQL["add_minutes"],
        [key.arm.channel_id for key in sums],
        [key.arm.method for key in sums],
        [key.arm.operation for key in sums],
        [key.bucket_at for key in sums],
        [counts.samples for counts in sums.values()],
        [counts.successes for counts in sums.values()],
        [counts.business_declines for counts in sums.values()],
        [counts.latency_sum_ms for counts in sums.values()],
    )


async def append_recent(connection: Connection, rows: Mapping[ArmKey, Recent]) -> None:
    """Append to the short memory, which begins anew after a silence."""
    await connection.execute(
        _SQL["append_recent"],
        [key.channel_id for key in rows],
        [key.method for key in rows],
        [key.operation for key in rows],
        ["".join("1" if each else "0" for each in row.successes) for row in rows.values()],
        [row.last_at for row in rows.values()],
        statistics.RECENT_MAX,
        statistics.RECENT_SILENCE_MAX,
    )


async def load_arms(
    connection: Connection, now: datetime, *, channel_ids: Collection[str] | None = None
) -> dict[ArmKey, Arm]:
    """Both memories of every arm that has any, of these channels or of all."""
    rows = await connection.fetch(
        _SQL["load_arms"],
        statistics.window_start(now),
        now - statistics.RECENT_SILENCE_MAX,
        None if channel_ids is None else list(channel_ids),
    )
    return {_arm_key(row): _arm(row) for row in rows}


def _etag(version: int) -> str:
    return f"v{version}"


def _channel(row: asyncpg.Record) -> Channel:
    return Channel(
        channel_id=row["channel_id"],
        provider=row["provider"],
        display_name=row["display_name"],
        status=ChannelStatus(row["status"]),
        methods=tuple(Method(each) for each in row["methods"]),
        operations=tuple(Operation(each) for each in row["operations"]),
        currencies=tuple(row["currencies"]),
        amount_minimum_minor=row["amount_minimum_minor"],
        amount_maximum_minor=row["amount_maximum_minor"],
        fee=FeeSchedule(
            rate_ppm=row["fee_rate_ppm"],
            fixed_minor=row["fee_fixed_minor"],
            minimum_minor=row["fee_minimum_minor"],
            maximum_minor=row["fee_maximum_minor"],
        ),
        zone=row["zone"],
        cut_off=row["cut_off"],
        static_rank=row["static_rank"],
        etag=_etag(row["version"]),
    )


def _channel_from_json(data: dict[str, Any]) -> Channel:
    return Channel(
        **data
        | {
            "status": ChannelStatus(data["status"]),
            "methods": tuple(Method(each) for each in data["methods"]),
            "operations": tuple(Operation(each) for each in data["operations"]),
            "currencies": tuple(data["currencies"]),
            "fee": FeeSchedule(**data["fee"]),
        }
    )


def _decision(row: asyncpg.Record) -> Decision:
    return Decision(
        merchant_id=row["merchant_id"],
        currency=row["currency"],
        amount_minor=row["amount_minor"],
        method=Method(row["method"]),
        operation=Operation(row["operation"]),
        plan=_plan(row),
    )


def _plan(row: asyncpg.Record) -> Plan:
    if row["packed_plan"] is not None:
        return plan_archive.unpack(row["packed_plan"], row["route_key"], row["decided_at"])
    # Of a release that did not pack. The moment in its text is the plan's own; its column was written a little later.
    decided_at = datetime.fromisoformat(row["plan"]["decided_at"])
    return plan_archive.plan_of(row["plan"], row["route_key"], decided_at)


def _arm_key(row: asyncpg.Record) -> ArmKey:
    return ArmKey(row["channel_id"], Method(row["method"]), Operation(row["operation"]))


def _arm(row: asyncpg.Record) -> Arm:
    recent = None
    if row["recent_successes"] is not None:
        recent = Recent(
            successes=tuple(each == "1" for each in row["recent_successes"]),
            last_at=row["recent_last_at"],
        )
    return Arm(
        window=Counts(
            samples=row["samples"],
            successes=row["successes"],
            business_declines=row["business_declines"],
            latency_sum_ms=row["latency_sum_ms"],
        ),
        recent=recent,
    )
