"""The share of `make crash` that every run of the tests can afford: processes die at named points, and all books agree."""

import pytest

from tests.chaos import audit, matrix
from tests.chaos.scenarios import QUICK
from tests.chaos.world import running_world


@pytest.mark.timeout(240)  # a lease has to run out, and every restart waits for the others' CPU
async def test_whoever_dies_wherever_no_payment_is_lost_and_none_is_charged_twice() -> None:
    async with running_world() as world:
        results = await matrix.run(world, QUICK)

        assert [str(result) for result in results if result.violations] == []
        assert [result.name for result in results if not result.fired] == []
        assert await audit.audit(world) == []
