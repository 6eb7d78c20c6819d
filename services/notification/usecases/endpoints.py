"""The care of endpoints and their secrets."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from libs.clock import Clock
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from services.notification import store
from services.notification.domain import endpoint as endpoints
from services.notification.domain import errors, signature
from services.notification.domain.endpoint import Endpoint, EndpointState, UrlPolicy


class Seal(Protocol):
    """Keeps secrets unreadable in the database."""

    def close(self, text: str) -> bytes:
        """The text, sealed."""
        ...

    def open(self, sealed: bytes) -> str:
        """What was sealed."""
        ...


class Endpoints:
    """Registers, changes and lists endpoints, and rotates their secrets."""

    def __init__(
        self,
        pool: store.Pool,
        *,
        clock: Clock,
        ids: IdSource,
        seal: Seal,
        random_bytes: Callable[[int], bytes],
        url_policy: UrlPolicy,
    ) -> None:
        """`random_bytes` must be fit for keys."""
        self._pool = pool
        self._clock = clock
        self._ids = ids
        self._seal = seal
        self._random_bytes = random_bytes
        self._url_policy = url_policy

    async def create(
        self, request_id: str, merchant_id: str, url: str, event_types: list[str]
    ) -> tuple[Endpoint, str]:
        """A new endpoint and its secret. Idempotent by request_id: a repetition gets "" for the secret.

        Raises EndpointUrlInvalid, HttpsRequired, AddressNotPublic, EventTypeUnknown, RequestIdReused.
        """
        self._url_policy.check(url)
        now = self._clock.now()
        endpoint = Endpoint(
            endpoint_id=self._ids.new("ep"),
            merchant_id=merchant_id,
            url=url,
            event_types=endpoints.check_event_types(event_types),
            state=EndpointState.ENABLED,
            created_at=now,
        )
        content = [merchant_id, url, *endpoint.event_types]
        async with self._pool.acquire() as connection, connection.transaction():
            known_id = await store.claim_request(
                connection,
                rpc="CreateEndpoint",
                request_id=request_id,
                fingerprint=fingerprint(*content),
                resource_id=endpoint.endpoint_id,
                now=now,
            )
            if known_id is not None:
                return await store.get_endpoint(connection, known_id), ""
            await store.insert_endpoint(connection, endpoint)
            return endpoint, await self._add_secret(connection, endpoint.endpoint_id, now)

    async def update(
        self,
        request_id: str,
        *,
        endpoint_id: str,
        merchant_id: str,
        url: str,
        event_types: list[str],
        state: EndpointState | None,
    ) -> Endpoint:
        """Replace URL and subscription, and the state unless it is None. Idempotent by request_id.

        Disabling gives up what is pending. Raises what `create` raises, and EndpointNotFound, also when the endpoint
        belongs to another merchant.
        """
        self._url_policy.check(url)
        wanted = endpoints.check_event_types(event_types)
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            known_id = await store.claim_request(
                connection,
                rpc="UpdateEndpoint",
                request_id=request_id,
                fingerprint=fingerprint(endpoint_id, merchant_id, url, state or "", *wanted),
                resource_id=endpoint_id,
                now=now,
            )
            if known_id is not None:
                return await store.get_endpoint(connection, known_id)
            before = await store.lock_endpoint(connection, endpoint_id)
            if before.merchant_id != merchant_id:
                raise errors.EndpointNotFound(field="endpoint.endpoint_id")
            after = replace(before, url=url, event_types=wanted, state=state or before.state)
            await store.update_endpoint(connection, after, now)
            return after

    async def rotate_secret(self, request_id: str, endpoint_id: str) -> str:
        """A new secret; the one before signs too for signature.OVERLAP. Idempotent: a repetition gets "".

        Raises EndpointNotFound, TooManySecrets, RequestIdReused.
        """
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            known_id = await store.claim_request(
                connection,
                rpc="RotateSecret",
                request_id=request_id,
                fingerprint=fingerprint(endpoint_id),
                resource_id=endpoint_id,
                now=now,
            )
            if known_id is not None:
                return ""
            await store.lock_endpoint(connection, endpoint_id)
            live = await store.live_secrets(connection, [endpoint_id], now)
            if len(live[endpoint_id]) >= signature.SECRETS_MAX:
                raise errors.TooManySecrets(endpoint_id=endpoint_id)
            await store.end_current_secret(connection, endpoint_id, now + signature.OVERLAP)
            return await self._add_secret(connection, endpoint_id, now)

    async def list(self, merchant_id: str, page: PageRequest) -> Page[Endpoint]:
        """Endpoints by id. Raises InvalidPageToken."""
        after_id = page.after
        async with self._pool.acquire() as connection:
            found = await store.list_endpoints(
                connection, merchant_id=merchant_id, after_id=after_id, limit=page.limit
            )
        return page.page(found, lambda endpoint: endpoint.endpoint_id)

    async def _add_secret(
        self, connection: store.Connection, endpoint_id: str, now: datetime
    ) -> str:
        secret = signature.make_secret(self._random_bytes(signature.KEY_BYTES))
        await store.insert_secret(connection, endpoint_id, self._seal.close(secret), now)
        return secret


def fingerprint(*content: str) -> str:
    """A digest of what a request asks for."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
