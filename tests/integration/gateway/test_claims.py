"""What a sweeper may take up."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from libs.db.pool import open_pool
from libs.saga.flow import Step
from services.gateway.domain.payment import PaymentState
from services.gateway.store.sagas import SagaStore
from tests.stateful.world import World
from tests.unit.services.gateway.domain.orders import NOW, PAYMENT


async def test_a_row_in_a_state_of_the_next_release_is_left_alone_and_holds_up_no_other(
    fresh_database: Callable[[str], Awaitable[str]],
) -> None:
    async with await open_pool(
        await fresh_database("gateway"), size=2, application_name="test"
    ) as pool:
        world = World(SagaStore(pool))
        waiting = replace(PAYMENT, state=PaymentState.PENDING, next_run_at=NOW)
        for name in ("pay_later", "pay_now"):
            subject = replace(waiting, payment_id=name, request_id=name)
            await world.create("payment", Step(subject=subject))
        await pool.execute("ALTER TABLE payment DROP CONSTRAINT payment_state_check")
        await pool.execute("UPDATE payment SET state = 'LATER' WHERE payment_id = 'pay_later'")

        claimed = await world.claim("payment", NOW)

        assert [payment.payment_id for payment in claimed] == ["pay_now"]
        left = await pool.fetchrow("SELECT epoch, next_run_at FROM payment WHERE state = 'LATER'")
        assert left is not None
        assert tuple(left) == (1, NOW)
