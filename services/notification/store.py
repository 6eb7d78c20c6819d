"""All SQL of notification. Functions take the connection of the caller's transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg

from libs.db import pool, queries
from services.notification.domain import errors
from services.notification.domain.delivery import (
    Attempt,
    Backlog,
    Claim,
    Delivery,
    DeliveryState,
)
from services.notification.domain.endpoint import Endpoint, EndpointState

Connection = pool.Connection
Pool = pool.Pool

# How many due rows one claim looks at to find some whose endpoints have room.
CLAIM_WINDOW: Final = 500

_SQL: Final = queries.load(Path(__file__).with_suffix(".sql"))


async def ping(connection: Connection) -> bool:
    """Whether the database answers."""
    return bool(await connection.fetchval(_SQL["ping"]))


async def insert_endpoint(connection: Connection, endpoint: Endpoint) -> None:
    """Keep a new endpoint."""
    await connection.execute(
        _SQL["insert_endpoint"],
        endpoint.endpoint_id,
        endpoint.merchant_id,
        endpoint.url,
        endpoint.event_types,
        endpoint.state,
        endpoint.created_at,
    )


async def get_endpoint(connection: Connection, endpoint_id: str) -> Endpoint:
    """One endpoint, or EndpointNotFound."""
    return _found(await connection.fetchrow(_SQL["get_endpoint"], endpoint_id))


async def lock_endpoint(connection: Connection, endpoint_id: str) -> Endpoint:
    """One endpoint, ours to change until the transaction ends, or EndpointNotFound."""
    return _found(await connection.fetchrow(_SQL["lock_endpoint"], endpoint_id))


async def update_endpoint(connection: Connection, endpoint: Endpoint, now: datetime) -> None:
    """Save a locked endpoint; one that is disabled has nothing pending any more."""
    await connection.execute(
        _SQL["update_endpoint"],
        endpoint.endpoint_id,
        endpoint.url,
        endpoint.event_types,
        endpoint.state,
        now,
    )
    if endpoint.state is EndpointState.DISABLED:
        await connection.execute(_SQL["give_up_pending"], endpoint.endpoint_id)


async def disable_endpoint_at(
    connection: Connection, endpoint_id: str, url: str, now: datetime
) -> None:
    """Disable the endpoint if it still has this URL, and give up what is pending for it."""
    if await connection.fetchval(_SQL["disable_endpoint_at"], endpoint_id, url, now):
        await connection.execute(_SQL["give_up_pending"], endpoint_id)


async def list_endpoints(
    connection: Connection, *, merchant_id: str, after_id: str, limit: int
) -> list[Endpoint]:
    """Endpoints in order of their ids, from the first behind after_id."""
    rows = await connection.fetch(_SQL["list_endpoints"], merchant_id, after_id, limit)
    return [_endpoint(row) for row in rows]


async def endpoints_to_tell(
    connection: Connection, merchant_ids: Collection[str]
) -> list[Endpoint]:
    """The enabled endpoints of some merchants; they stay enabled until the transaction ends."""
    rows = await connection.fetch(_SQL["endpoints_to_tell"], sorted(merchant_ids))
    return [_endpoint(row) for row in rows]


async def hold_enabled_endpoint(connection: Connection, endpoint_id: str) -> None:
    """Keep the endpoint enabled until the transaction ends. Raises EndpointDisabled."""
    if not await connection.fetchval(_SQL["hold_enabled_endpoint"], endpoint_id):
        raise errors.EndpointDisabled(endpoint_id=endpoint_id)


async def insert_secret(
    connection: Connection, endpoint_id: str, sealed: bytes, now: datetime
) -> None:
    """Add the current secret; the endpoint must be locked or new."""
    await connection.execute(_SQL["insert_secret"], endpoint_id, sealed, now)


async def end_current_secret(
    connection: Connection, endpoint_id: str, expires_at: datetime
) -> None:
    """Let the current secret sign until then."""
    await connection.execute(_SQL["end_current_secret"], endpoint_id, expires_at)


async def live_secrets(
    connection: Connection, endpoint_ids: Collection[str], now: datetime
) -> dict[str, tuple[bytes, ...]]:
    """The sealed secrets that sign now, the newest first."""
    found: dict[str, tuple[bytes, ...]] = {}
    for row in await connection.fetch(_SQL["live_secrets"], sorted(endpoint_ids), now):
        found[row["endpoint_id"]] = (*found.get(row["endpoint_id"], ()), row["sealed"])
    return found


async def insert_deliveries(
    connection: Connection, deliveries: Sequence[Delivery], now: datetime
) -> int:
    """Add the deliveries, due now, except those there are already; return how many were new."""
    rows = await connection.fetch(
        _SQL["insert_deliveries"],
        [each.delivery_id for each in deliveries],
        [each.endpoint_id for each in deliveries],
        [each.merchant_id for each in deliveries],
        [each.event_id for each in deliveries],
        [each.event_type for each in deliveries],
        [each.subject_id for each in deliveries],
        [each.body for each in deliveries],
        now,
    )
    return len(rows)


async def claim_due(
    connection: Connection,
    *,
    now: datetime,
    lease_until: datetime,
    count_max: int,
    endpoint_max: int,
    in_flight: Mapping[str, int],
) -> list[Claim]:
    """Take due deliveries that nobody holds; none for an endpoint beyond endpoint_max in flight."""
    rows = await connection.fetch(
        _SQL["claim_due"],
        now,
        lease_until,
        count_max,
        endpoint_max,
        list(in_flight),
        list(in_flight.values()),
        CLAIM_WINDOW,
    )
    secrets = await live_secrets(connection, {row["endpoint_id"] for row in rows}, now)
    return [Claim(**row, sealed_secrets=secrets[row["endpoint_id"]]) for row in map(dict, rows)]


async def get_delivery(connection: Connection, delivery_id: str) -> Delivery:
    """One delivery, or DeliveryNotFound."""
    return _found_delivery(await connection.fetchrow(_SQL["get_delivery"], delivery_id))


async def lock_delivery(connection: Connection, delivery_id: str) -> Delivery:
    """One delivery, ours to change until the transaction ends, or DeliveryNotFound."""
    return _found_delivery(await connection.fetchrow(_SQL["lock_delivery"], delivery_id))


async def save_delivery(connection: Connection, delivery: Delivery) -> None:
    """Save a locked delivery."""
    await connection.execute(
        _SQL["save_delivery"],
        delivery.delivery_id,
        delivery.state,
        delivery.attempts_count,
        delivery.round_attempts,
        delivery.next_attempt_at,
        delivery.epoch,
    )


async def insert_attempt(
    connection: Connection, delivery_id: str, number: int, attempt: Attempt
) -> None:
    """Record an attempt."""
    await connection.execute(
        _SQL["insert_attempt"],
        delivery_id,
        number,
        attempt.attempted_at,
        attempt.http_status,
        attempt.latency_ms,
        attempt.error,
    )


async def list_attempts(connection: Connection, delivery_id: str) -> list[Attempt]:
    """The attempts of a delivery, oldest first."""
    rows = await connection.fetch(_SQL["list_attempts"], delivery_id)
    return [Attempt(**dict(row)) for row in rows]


async def list_deliveries(
    connection: Connection,
    *,
    merchant_id: str,
    state: DeliveryState | None,
    subject_id: str,
    before_id: str,
    limit: int,
) -> list[Delivery]:
    """Deliveries, newest first, from the first older than before_id."""
    rows = await connection.fetch(
        _SQL["list_deliveries"], merchant_id, state or "", subject_id, before_id, limit
    )
    return [_delivery(row) for row in rows]


async def backlog(connection: Connection) -> Backlog:
    """What waits and what was given up, over all endpoints."""
    row = await connection.fetchrow(_SQL["backlog"])
    return Backlog(**dict(row or {}))


async def claim_request(
    connection: Connection,
    *,
    rpc: str,
    request_id: str,
    fingerprint: str,
    resource_id: str,
    now: datetime,
) -> str | None:
    """None if the request is new and now ours to do on resource_id, else the resource it was done on.

    Waits for a concurrent holder of the same id. Raises RequestIdReused if the id belongs to another request.
    """
    if await connection.fetchval(
        _SQL["claim_request"], rpc, request_id, fingerprint, resource_id, now
    ):
        return None
    (row,) = await connection.fetch(_SQL["get_request"], rpc, request_id)
    if row["fingerprint"] != fingerprint:
        raise errors.RequestIdReused(field="request_id")
    known: str = row["resource_id"]
    return known


def _found(row: asyncpg.Record | None) -> Endpoint:
    if row is None:
        raise errors.EndpointNotFound(field="endpoint_id")
    return _endpoint(row)


def _endpoint(row: asyncpg.Record) -> Endpoint:
    return Endpoint(
        endpoint_id=row["endpoint_id"],
        merchant_id=row["merchant_id"],
        url=row["url"],
        event_types=tuple(row["event_types"]),
        state=EndpointState(row["state"]),
        created_at=row["created_at"],
    )


def _found_delivery(row: asyncpg.Record | None) -> Delivery:
    if row is None:
        raise errors.DeliveryNotFound(field="delivery_id")
    return _delivery(row)


def _delivery(row: asyncpg.Record) -> Delivery:
    return Delivery(**dict(row) | {"state": DeliveryState(row["state"])})
