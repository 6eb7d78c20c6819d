"""Fee plans: what merchants pay us, from a business day on."""

import hashlib
from dataclasses import replace
from datetime import date
from typing import Final

import asyncpg

from libs.clock import Clock
from libs.db.pool import Pool
from libs.ids import IdSource
from libs.paging import InvalidPageToken, Page, PageRequest
from services.clearing.domain import errors
from services.clearing.domain.model import FeePlan
from services.clearing.store import items as store

_KEY_SEPARATOR: Final = "/"
_BEGINNING: Final = ("", date.min)


class Plans:
    """Writes and lists plans."""

    def __init__(self, pool: Pool, clock: Clock, ids: IdSource) -> None:
        """Ids are of prefix "plan"."""
        self._pool = pool
        self._clock = clock
        self._ids = ids

    async def upsert(self, request_id: str, plan: FeePlan) -> FeePlan:
        """Put a plan in the place of the one of the same merchant and day; items keep their fee.

        Idempotent by request_id. Raises RequestIdReused, LostRace.
        """
        plan = replace(plan, plan_id="")
        fingerprint = hashlib.sha256(f"UpsertFeePlan {plan}".encode()).hexdigest()
        plan = replace(plan, plan_id=self._ids.new("plan"))
        now = self._clock.now()
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                made = await store.claim_request(
                    connection, request_id, fingerprint, plan.plan_id, now
                )
                if made is not None:
                    return await store.get_plan(connection, made)
                await store.insert_plan(connection, plan, now)
        except asyncpg.UniqueViolationError as error:
            raise errors.LostRace from error
        return plan

    async def list_plans(self, merchant_id: str, page: PageRequest) -> Page[FeePlan]:
        """Plans by merchant and day. Raises InvalidPageToken."""
        async with self._pool.acquire() as connection:
            found = await store.list_plans(
                connection, merchant_id=merchant_id, after=_key(page.after), limit=page.limit
            )
        return page.page(found, _text)


def _text(plan: FeePlan) -> str:
    return f"{plan.merchant_id}{_KEY_SEPARATOR}{plan.effective_from.isoformat()}"


def _key(text: str) -> tuple[str, date]:
    if not text:
        return _BEGINNING
    merchant_id, _, day = text.rpartition(_KEY_SEPARATOR)
    try:
        return merchant_id, date.fromisoformat(day)
    except ValueError as error:
        raise InvalidPageToken(field="page_token") from error
