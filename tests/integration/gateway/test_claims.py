"""What a sweeper may take up."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from libs.db.pool import open_pool
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.saga import Step
from services.gateway.store.sagas import NewSaga, SagaStore

NOW = datetime(2026, 11, 11, tzinfo=UTC)


def waiting(payment_id: str) -> Payment:
    return Payment(
        payment_id=payment_id,
        merchant_id="m1",
        request_id=payment_id,
        fingerprint="f",
        order_ref="",
        description="",
        amount_minor=100,
        currency="CNY",
        method="CARD",
        payer_token="",
        state=PaymentState.PENDING,
        evaluation_id=payment_id,
        plan=("c1",),
        created_at=NOW,
        updated_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        hard_deadline_at=NOW + timedelta(days=1),
        next_run_at=NOW,
    )


async def test_a_row_in_a_state_of_the_next_release_is_left_alone_and_holds_up_no_other(
    fresh_database: Callable[[str], Awaitable[str]],
) -> None:
    async with await open_pool(
        await fresh_database("gateway"), size=2, application_name="test"
    ) as pool:
        payments = SagaStore(pool).payments
        await payments.create(
            [
                NewSaga(step=Step(subject=waiting(name)), events=())
                for name in ("pay_later", "pay_now")
            ]
        )
        await pool.execute("ALTER TABLE payment DROP CONSTRAINT payment_state_check")
        await pool.execute("UPDATE payment SET state = 'LATER' WHERE payment_id = 'pay_later'")

        claimed = await payments.claim(NOW, NOW + timedelta(seconds=15), 10)

        assert [payment.payment_id for payment in claimed] == ["pay_now"]
        left = await pool.fetchrow("SELECT epoch, next_run_at FROM payment WHERE state = 'LATER'")
        assert left is not None
        assert tuple(left) == (1, NOW)
