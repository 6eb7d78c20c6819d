"""Keep programs running: start in groups, restart what dies, stop in reverse order."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from deploy.local.errors import LocalError, ProgramFailedError
from deploy.local.process import Child, Program, describe_exit, describe_log

RESTART_WAIT_INITIAL_S: Final = 0.2
RESTART_WAIT_MAX_S: Final = 5.0
QUICK_LIFE_S: Final = 10.0
QUICK_DEATHS_MAX: Final = 5
STOP_TOTAL_S: Final = 45.0


class Supervisor:
    """Programs in the order they were started.

    A program that dies is started again after a pause that doubles. One that dies
    QUICK_DEATHS_MAX times in a row, each within QUICK_LIFE_S of its start, is given up: then
    `wait_failed` raises, and the owner is expected to stop the rest.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[str], None] = lambda _: None,
        quick_life_s: float = QUICK_LIFE_S,
        quick_deaths_max: int = QUICK_DEATHS_MAX,
    ) -> None:
        self._on_event = on_event
        self._quick_life_s = quick_life_s
        self._quick_deaths_max = quick_deaths_max
        self._groups: list[list[str]] = []
        self._children: dict[str, Child] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def child(self, name: str) -> Child:
        """Return the present process of a program; a restart makes another one."""
        return self._children[name]

    async def start(self, programs: Sequence[Program]) -> None:
        """Start a group at once and return when all of it serves.

        Raises ProgramFailedError when one dies or is late, and what `before_start` raises; what
        had been started runs on until `stop`.
        """
        self._groups.append([program.name for program in programs])
        try:
            async with asyncio.TaskGroup() as group:
                for program in programs:
                    group.create_task(self._start_one(program))
        except ExceptionGroup as errors:
            raise first_of(errors) from None

    async def wait_failed(self) -> None:
        """Wait until a program is given up, then raise ProgramFailedError. Else wait for ever."""
        await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Stop every program, the last group first; kill all that is left after STOP_TOTAL_S.

        Idempotent. When cancelled, it kills at once.
        """
        for watcher in self._watchers.values():
            watcher.cancel()
        if self._watchers:
            await asyncio.wait(self._watchers.values())
        self._watchers.clear()
        try:
            async with asyncio.timeout(STOP_TOTAL_S):
                for names in reversed(self._groups):
                    async with asyncio.TaskGroup() as group:
                        for name in names:
                            if name in self._children:
                                group.create_task(self._children[name].stop())
        except TimeoutError:
            self._on_event(f"not everything stopped within {STOP_TOTAL_S:.0f} s: killed")
        finally:
            for child in self._children.values():
                child.kill()
            self._children.clear()
            self._groups.clear()

    async def _start_one(self, program: Program) -> None:
        child = await Child.start(program)
        self._children[program.name] = child
        await child.wait_ready()
        self._watchers[program.name] = asyncio.create_task(
            self._watch(program, child), name=f"watch {program.name}"
        )

    async def _watch(self, program: Program, child: Child) -> None:
        """Restart the program whenever it ends, until it is given up."""
        quick_deaths = 0
        while True:
            reason = describe_exit(await child.wait())
            lived_s = time.monotonic() - child.started_at
            quick_deaths = quick_deaths + 1 if lived_s < self._quick_life_s else 0
            if quick_deaths >= self._quick_deaths_max:
                self._give_up(program, reason)
                return
            wait_s = min(RESTART_WAIT_MAX_S, RESTART_WAIT_INITIAL_S * 2.0**quick_deaths)
            self._on_event(f"{program.name} {reason}; starting it again in {wait_s:.1f} s")
            await asyncio.sleep(wait_s)
            child = await self._restart(program, child)

    async def _restart(self, program: Program, previous: Child) -> Child:
        """Return the new process; the old one when nothing could be started, which counts again."""
        previous.kill()
        try:
            child = await Child.start(program)
        except LocalError as error:
            self._on_event(str(error))
            previous.started_at = time.monotonic()
            return previous
        self._children[program.name] = child
        try:
            await child.wait_ready()
            self._on_event(f"{program.name} serves again")
        except ProgramFailedError:
            await child.stop()
        return child

    def _give_up(self, program: Program, reason: str) -> None:
        error = ProgramFailedError(
            f"{program.name} {reason}, {self._quick_deaths_max} times in a row soon after its "
            f"start; given up.{describe_log(program.log_path)}"
        )
        self._on_event(f"{program.name} keeps dying; given up")
        if not self._failed.done():
            self._failed.set_exception(error)
            # Whoever waits gets it; that nobody waits is not worth a warning.
            self._failed.exception()


def first_of(errors: ExceptionGroup[Exception]) -> Exception:
    """Return the first problem meant for the operator, else the first of all."""
    meant = errors.subgroup(LocalError) or errors
    inner = meant.exceptions[0]
    return first_of(inner) if isinstance(inner, ExceptionGroup) else inner
