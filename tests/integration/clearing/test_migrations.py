"""What an older release has written goes on under this one."""

import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path

import asyncpg

from libs.db import migrate
from services.clearing.__main__ import MIGRATIONS

MADE_AT = datetime(2026, 3, 2, 4, tzinfo=UTC)


async def test_batches_of_the_first_release_become_sagas_that_are_due_on_their_day(
    empty_database: Callable[[], Awaitable[str]], tmp_path: Path
) -> None:
    url = await empty_database()
    shutil.copy(MIGRATIONS / "0001_initial.py", tmp_path)
    await migrate.upgrade(url, tmp_path)
    connection = await asyncpg.connect(url)
    for batch_id, state, settled_at in (
        ("set_1", "COMPUTED", None),
        ("set_2", "SETTLED", MADE_AT),
    ):
        await connection.execute(
            "INSERT INTO batch VALUES ($1, 'mer_1', 'CNY', $2, $3, 1, 5, 0, 0, 5, $4, $5, $6)",
            batch_id,
            date(2026, 3, 2),
            date(2026, 3, 3),
            state,
            MADE_AT,
            settled_at,
        )

    await migrate.upgrade(url, MIGRATIONS)

    computed, settled = await connection.fetch("SELECT * FROM batch ORDER BY batch_id")
    await connection.close()
    assert computed["next_run_at"] == datetime(2026, 3, 2, 16, tzinfo=UTC)
    assert settled["next_run_at"] is None
    assert (computed["updated_at"], settled["updated_at"]) == (MADE_AT, MADE_AT)
    assert (computed["version"], computed["epoch"], computed["faults_count"]) == (1, 1, 0)
