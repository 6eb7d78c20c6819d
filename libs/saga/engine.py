"""The flows of one process, wired: group commits, drivers, sweepers. Nothing is started by wiring them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from libs.batching.coalescer import Coalescer
from libs.clock import Clock
from libs.saga.driver import Driver, EventEncoder, Performer, Rows
from libs.saga.drives import Drives
from libs.saga.flow import Decide, Subject
from libs.saga.sweeper import Claims, Sweeper
from libs.saga.table import BacklogLine, Saved

# What is out when a process is told to stop may still be answered; the rest has been handed over by then.
HAND_OVER_DRAIN_S: Final = 4.0

S = TypeVar("S", bound=Subject)
A = TypeVar("A")


class Table(Rows[S, A], Claims[S, A], Protocol[S, A]):
    """Where a flow's subjects stand."""

    @property
    def flow(self) -> str: ...
    async def save(self, batch: Sequence[Saved[S, A]]) -> Sequence[S | BaseException]: ...
    async def backlog(self) -> list[BacklogLine]: ...


class Flow(Generic[S, A]):
    """One flow."""

    def __init__(
        self,
        *,
        table: Table[S, A],
        decide: Decide[S, A],
        perform: Performer[S, A],
        encode: EventEncoder[S],
        drives: Drives,
        clock: Clock,
    ) -> None:
        self.name = table.flow
        self.table = table
        self.save = Coalescer[Saved[S, A], S](table.save, name=f"save-{self.name}")
        self.driver = Driver(
            flow=self.name,
            table=table,
            save=self.save,
            decide=decide,
            perform=perform,
            encode=encode,
            clock=clock,
        )
        self.sweeper = Sweeper(
            flow=self.name, table=table, driver=self.driver, drives=drives, clock=clock
        )


class Engine:
    """All flows of a process."""

    def __init__(self, flows: Sequence[Flow[Any, Any]], drives: Drives) -> None:
        self._flows = flows
        self._drives = drives

    @property
    def coalescers(self) -> Sequence[Coalescer[Any, Any]]:
        """To be started before serving and stopped after it."""
        return [flow.save for flow in self._flows]

    @property
    def background(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Endless loops that take up what nobody works on."""
        return [flow.sweeper.run for flow in self._flows]

    @property
    def drivers(self) -> Mapping[str, Driver[Any, Any]]:
        """By the flow's name."""
        return {flow.name: flow.driver for flow in self._flows}

    @property
    def recoveries_count(self) -> int:
        """What sweepers have taken up and not finished."""
        return sum(flow.sweeper.in_flight for flow in self._flows)

    async def backlog(self) -> list[BacklogLine]:
        """What there is to do, by flow and state."""
        return [line for flow in self._flows for line in await flow.table.backlog()]

    async def hand_over(self) -> None:
        """Leaves what is under way to other replicas at once; then waits for the calls that are out."""
        for flow in self._flows:
            await flow.driver.hand_over()
        await self._drives.drain(HAND_OVER_DRAIN_S)
