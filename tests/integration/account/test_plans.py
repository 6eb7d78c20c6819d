"""Plans that are kept: none made on an empty ledger may read all of a full one."""

from collections.abc import Awaitable, Callable

import pytest

from libs.db.pool import BY_KEYS, open_pool
from services.account.store.rows import SQL

GIVEN = {
    "lock_balances": "(ARRAY['a'])",
    "get_transfers": "(ARRAY['t'])",
    "list_entries": "('a', 0, 100, 9)",
    "get_balances_at_time": "(ARRAY['a'], now())",
    "get_balances_at": "(ARRAY['a'], ARRAY[1]::bigint[])",
    "save_balances": "(ARRAY['a'], ARRAY[1]::bigint[], ARRAY[1]::bigint[], ARRAY[0]::bigint[], "
    "ARRAY[1]::bigint[], ARRAY[1]::bigint[], ARRAY[now()], ARRAY[0]::bigint[])",
}


@pytest.mark.parametrize("name", [*GIVEN, "sum_imbalances"])
async def test_a_plan_made_on_an_empty_ledger_goes_by_keys(
    fresh_database: Callable[[str], Awaitable[str]], name: str
) -> None:
    url = await fresh_database("account")
    async with await open_pool(url, size=1, application_name="test", settings=BY_KEYS) as pool:
        await pool.execute("VACUUM ANALYZE transfer, account_balance")
        await pool.execute("SET plan_cache_mode = force_generic_plan")
        await pool.execute(f"PREPARE kept AS {SQL[name]}")
        plan = [row[0] for row in await pool.fetch(f"EXPLAIN EXECUTE kept {GIVEN.get(name, '')}")]
    assert not [line for line in plan if "Seq Scan on transfer" in line], "\n".join(plan)
    if name != "sum_imbalances":
        assert not [line for line in plan if "Seq Scan on account_balance" in line], "\n".join(plan)
