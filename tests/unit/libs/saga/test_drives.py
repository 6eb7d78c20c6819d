"""Sagas under way outlive the call that began them."""

import asyncio

from libs.rpc import deadline
from libs.saga.drives import Drives


async def test_a_caller_who_waits_gets_the_outcome() -> None:
    drives = Drives()

    assert await drives.wait(drives.start(asyncio.sleep(0, "done"))) == "done"
    assert len(drives) == 0


async def test_a_caller_who_runs_out_of_time_leaves_and_the_work_goes_on() -> None:
    drives, gate = Drives(), asyncio.Event()

    async def work() -> str:
        await gate.wait()
        assert deadline.remaining_s() is None, "it has no caller's deadline"
        return "done"

    with deadline.within(0.12):
        task = drives.start(work())
        assert await drives.wait(task) is None

    assert len(drives) == 1
    gate.set()
    await drives.drain()
    assert task.result() == "done"


async def test_what_breaks_is_no_answer_and_breaks_nobody_else() -> None:
    async def work() -> str:
        raise ConnectionResetError

    drives = Drives()

    assert await drives.wait(drives.start(work())) is None
    assert len(drives) == 0


async def test_draining_waits_no_longer_than_it_may() -> None:
    drives = Drives()
    task = drives.start(asyncio.sleep(30))

    await drives.drain(timeout_s=0.01)

    assert not task.done()
    task.cancel()
