"""What befalls a world's machines and links while faults last."""

import asyncio
from typing import TYPE_CHECKING

from libs.saga import flow
from tests.simulation.chaos import ACTIONS
from tests.simulation.replica import Replica

if TYPE_CHECKING:
    from tests.simulation.world import World

FAULTS_S = 60.0
STOP_S = 5.0
NEIGHBOURS = ("risk", "router", "account")


async def rage(world: "World") -> None:
    """Strikes at machines and links, then lets go of everything."""
    if world.dead_channel:
        world.chaos.counts["channel dead for ever"] += 1
        world.later(20.0, world.network.take_down, world.dead_channel, float("inf"))
    gentleness_s = world.rng.choice((4.0, 8.0, 20.0))
    while world.loop.now_s < FAULTS_S:
        await asyncio.sleep(world.rng.random() * gentleness_s)
        _strike(world, world.rng.choice(ACTIONS))
    world.chaos.is_on = False
    world.network.restore(but=world.dead_channel)
    for process in world.processes.values():
        world.loop.wake(process.machine)
    world.history.add("", "the faults are over")
    for name, process in list(world.processes.items()):
        if isinstance(process, Replica) and process.is_old and process.machine.is_alive:
            _stop(world, name)


def _strike(world: "World", action: str) -> None:
    name = world.rng.choice(list(world.processes))
    machine = world.processes[name].machine
    until_s = world.loop.now_s + world.rng.uniform(1.0, 20.0)
    world.chaos.counts[action] += 1
    if action == "replica killed" and machine.is_alive:
        world.crash(machine)
    elif action == "replica stopped gracefully" and machine.is_alive:
        _stop(world, name)
    elif action == "replica paused beyond its lease":
        machine.is_paused = True
        wake_s = world.rng.uniform(5.0, 2.5 * flow.LEASE_S)
        world.later(wake_s, world.loop.wake, machine)
        world.history.add("", f"{machine.name} is paused for {wake_s:.1f} s")
    elif action == "database away":
        world.network.take_down("database", world.loop.now_s + world.rng.uniform(0.2, 4.0))
    elif action == "channel away":
        world.network.take_down(world.rng.choice(list(world.channels)), until_s)
    elif action == "neighbour away":
        world.network.take_down(world.rng.choice(NEIGHBOURS), until_s)


def _stop(world: "World", name: str) -> None:
    """SIGTERM, as a deploy sends it; the next incarnation starts once this one is gone."""
    process = world.processes[name]
    if not process.is_serving:
        return
    world.history.add("", f"{name} is told to stop")
    world.loop.create_task(process.stop(), context=process.context.copy())

    def leave() -> None:
        if process.machine.is_alive:
            process.machine.is_alive = False
            world.history.add("", f"{name} has stopped")
            world.boot(name)

    world.later(STOP_S, leave)
