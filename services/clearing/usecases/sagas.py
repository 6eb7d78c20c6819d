"""The flows of this service, wired: group commits, drivers, sweepers."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from libs.batching.coalescer import Coalescer
from libs.clock import Clock
from libs.db.pool import Pool
from libs.ids import IdSource
from libs.saga import gauges
from libs.saga.drives import Drives
from libs.saga.engine import Engine, Flow
from libs.saga.table import SagaTable
from services.clearing.domain import settling, sweeping
from services.clearing.store import sagas as store
from services.clearing.usecases.events import Events
from services.clearing.usecases.performers import BatchPerformer, SweepPerformer
from services.clearing.usecases.ports import Ledger


class Sagas:
    """Settlement batches and sweeps. Nothing is started by wiring them."""

    def __init__(
        self, *, pool: Pool, ledger: Ledger, events: Events, clock: Clock, ids: IdSource
    ) -> None:
        self.drives = Drives()
        self._clock = clock
        self._poster = BatchPerformer(ledger)
        self.batches = Flow(
            table=SagaTable(pool, store.batch_spec(ids)),
            decide=settling.decide,
            perform=self._poster,
            encode=events.of_batch,
            drives=self.drives,
            clock=clock,
        )
        self.sweeps = Flow(
            table=SagaTable(pool, store.sweep_spec()),
            decide=sweeping.decide,
            perform=SweepPerformer(ledger),
            encode=events.of_sweep,
            drives=self.drives,
            clock=clock,
        )
        self._engine = Engine((self.batches, self.sweeps), self.drives)

    @property
    def coalescers(self) -> Sequence[Coalescer[Any, Any]]:
        """To be started before serving and stopped after it."""
        return (*self._engine.coalescers, self._poster.coalescer)

    @property
    def background(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Endless loops: what nobody works on is taken up, and the on-call is told what has not ended."""
        keep_gauges = partial(gauges.keep, self._engine.backlog, self._clock)
        return (*self._engine.background, keep_gauges)

    async def hand_over(self) -> None:
        """Leave what is under way to other replicas, and wait for the calls that are out."""
        await self._engine.hand_over()
