"""Sweeps (归集): begun, stopped, decided, looked at."""

import hashlib
from dataclasses import dataclass, replace

from libs.clock import Clock
from libs.db.pool import Pool
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from libs.saga import flow
from libs.saga.flow import Signal
from services.clearing.domain import errors, sweeping
from services.clearing.domain.sweeping import Sweep, SweepState
from services.clearing.store import items as item_store
from services.clearing.store import sagas as store
from services.clearing.usecases.sagas import Sagas


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOrder:
    """What a caller asks for, validated in form."""

    request_id: str
    source_account_id: str
    target_account_id: str
    currency: str
    keep_minor: int
    minimum_minor: int
    memo: str

    @property
    def fingerprint(self) -> str:
        """The same for the same order."""
        return hashlib.sha256(f"RunSweep {replace(self, request_id='')}".encode()).hexdigest()


class Sweeps:
    """The use cases of sweeps."""

    def __init__(self, *, pool: Pool, sagas: Sagas, clock: Clock, ids: IdSource) -> None:
        """Ids are of prefix "swp"."""
        self._pool = pool
        self._flow = sagas.sweeps
        self._drives = sagas.drives
        self._clock = clock
        self._ids = ids

    async def run(self, order: SweepOrder) -> Sweep:
        """Begin a sweep and see it through, or answer it as it stands when the caller's time is up.

        Idempotent by request_id. Raises SweepOntoItself, RequestIdReused.
        """
        step = sweeping.open_sweep(self._draft(order))
        stored = await self._flow.driver.create(step)
        if stored.sweep_id != step.subject.sweep_id:
            if stored.fingerprint != order.fingerprint:
                raise errors.RequestIdReused(field="request_id", sweep_id=stored.sweep_id)
            return stored
        task = self._drives.start(self._flow.driver.drive(step))
        return await self._drives.wait(task) or await self.get(stored.sweep_id)

    async def get(self, sweep_id: str) -> Sweep:
        """Raises SweepNotFound."""
        loaded = await self._flow.table.load(sweep_id)
        if loaded is None:
            raise errors.SweepNotFound(field="sweep_id")
        return loaded[0]

    async def cancel(self, request_id: str, sweep_id: str) -> Sweep:
        """Stop one that has not begun to move. Idempotent.

        Raises SweepNotFound, SweepNotCancelable, RequestIdReused.
        """
        await self._claim(request_id, sweep_id, "CancelSweep")
        return await self._tell(sweep_id, sweeping.CancelWanted())

    async def decide(
        self, request_id: str, sweep_id: str, to_state: SweepState, *, actor: str, note: str
    ) -> Sweep:
        """Have what is set aside moved or released; the ledger has the last word. Idempotent.

        Raises SweepNotFound, SweepNotManual, RequestIdReused.
        """
        await self._claim(request_id, sweep_id, repr(("DecideSweep", to_state, actor, note)))
        return await self._tell(
            sweep_id, sweeping.Decided(to_state=to_state, actor=actor, note=note)
        )

    async def list_sweeps(self, state: SweepState | None, page: PageRequest) -> Page[Sweep]:
        """Sweeps by id, oldest first. Raises InvalidPageToken."""
        async with self._pool.acquire() as connection:
            found = await store.list_sweeps(
                connection, state=state, after=page.after, limit=page.limit
            )
        return page.page(found, lambda sweep: sweep.sweep_id)

    async def _tell(self, sweep_id: str, signal: Signal) -> Sweep:
        step = await self._flow.driver.note(sweep_id, signal)
        if step is None:
            raise errors.SweepNotFound(field="sweep_id")
        task = self._drives.start(self._flow.driver.drive(step))
        return await self._drives.wait(task) or await self.get(sweep_id)

    async def _claim(self, request_id: str, sweep_id: str, what: str) -> None:
        """Raises RequestIdReused. The same wish again goes on: the flow takes each once."""
        fingerprint = hashlib.sha256(repr((what, sweep_id)).encode()).hexdigest()
        async with self._pool.acquire() as connection, connection.transaction():
            await item_store.claim_request(
                connection, request_id, fingerprint, sweep_id, self._clock.now()
            )

    def _draft(self, order: SweepOrder) -> Sweep:
        now = self._clock.now()
        return Sweep(
            sweep_id=self._ids.new("swp"),
            request_id=order.request_id,
            fingerprint=order.fingerprint,
            source_account_id=order.source_account_id,
            target_account_id=order.target_account_id,
            currency=order.currency,
            keep_minor=order.keep_minor,
            minimum_minor=order.minimum_minor,
            memo=order.memo,
            hard_deadline_at=now + sweeping.HARD_DEADLINE,
            created_at=now,
            updated_at=now,
            next_run_at=flow.leased_until(now),
        )
