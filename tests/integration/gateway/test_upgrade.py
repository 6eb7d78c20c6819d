"""A gateway's database of an earlier release, in use, is brought up to this one."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from libs.db import migrate
from libs.db.pool import Pool, open_pool
from services.gateway.domain.channel import OutcomeKind
from services.gateway.store.operators import OperatorStore
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore
from tests.conftest import migrations_dir
from tests.contract.saga_support import DAY, NOW, Stores, answered, opened, payment, saved
from tests.integration.libs.test_event_log_upgrade import OF_THE_FIRST_RELEASE

EARLIER = ("0001", "0002", "0003", "0004")
PAYMENT_ID = payment(1).payment_id
WRITTEN = f"""
INSERT INTO event_log (event_id, type, merchant_id, subject_id, occurred_at, payload_type, payload) VALUES
    ('{PAYMENT_ID}-2-payment.created', 'payment.created', 'mer_1', '{PAYMENT_ID}', '2026-11-11 04:00+00', 'x', ''),
    ('{PAYMENT_ID}0-2-payment.created', 'payment.created', 'mer_1', '{PAYMENT_ID}0', '2026-11-11 04:00+00', 'x', '');
"""


@pytest.fixture
async def upgraded(
    empty_database: Callable[[], Awaitable[str]], tmp_path: Path
) -> AsyncIterator[Pool]:
    for version in sorted(migrations_dir("gateway").glob("*.py")):
        if version.name.startswith(EARLIER):
            shutil.copy(version, tmp_path)
    url = await empty_database()
    await migrate.upgrade(url, tmp_path)
    async with await open_pool(url, size=4, application_name="test") as pool:
        await pool.execute("DROP TABLE event_log;" + OF_THE_FIRST_RELEASE + WRITTEN)
        await migrate.upgrade(url, migrations_dir("gateway"))
        yield pool


async def test_what_an_earlier_release_has_told_is_in_the_history(upgraded: Pool) -> None:
    stores = Stores(SagaStore(upgraded), Registry(upgraded), OperatorStore(upgraded))
    step = opened(payment(1))
    await stores.sagas.payments.create([saved(step)])
    await stores.sagas.payments.save([saved(answered(step, OutcomeKind.UNKNOWN))])
    (unknown,) = await stores.sagas.unknown_attempts("a", NOW, NOW + DAY)

    assert unknown.subject_id == PAYMENT_ID
    history = await stores.sagas.history(PAYMENT_ID)
    assert [kind for _, kind in history] == ["payment.created"] * 2
    events = await stores.registry.read_events("", 10)
    assert [event.event_id for event in events] == [
        f"{PAYMENT_ID}-2-payment.created",
        f"{PAYMENT_ID}0-2-payment.created",
        f"{PAYMENT_ID}-2-0",
    ]


async def test_no_index_hears_of_what_an_attempt_is_at(upgraded: Pool) -> None:
    """An index over a column that changes, or with a condition on it, makes each change write all indexes of the row."""
    indexes = await upgraded.fetch(
        "SELECT indexprs, indpred, ARRAY(SELECT attname::text FROM pg_attribute"
        " WHERE attrelid = indrelid AND attnum = ANY (indkey) ORDER BY attnum) AS columns"
        " FROM pg_index WHERE indrelid = 'attempt'::regclass ORDER BY indexrelid"
    )
    assert [tuple(row) for row in indexes] == [
        (None, None, ["subject_id", "number"]),
        (None, None, ["channel_id", "out_ref"]),
    ]
