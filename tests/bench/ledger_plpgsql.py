"""Would the ledger be faster if the database decided? `python -m tests.bench.ledger_plpgsql` measures both in turns.

The service is the same down to the use case: handlers, validation, coalescer, two writers. What differs is
that one statement calls a function (ledger_plpgsql.sql) where ours loads, decides and writes.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import cast

import uvloop

from libs import log, memory
from libs.batching.coalescer import Coalescer
from libs.clock import SystemClock
from libs.db.pool import BY_KEYS, open_pool
from libs.rpc.server import RpcServer
from services.account.domain import errors
from services.account.domain.accounts import Balance, Role
from services.account.domain.commands import Transfer, TransferVerdict
from services.account.handlers.servicer import SERVICE_NAME, AccountServicer
from services.account.store import Store
from services.account.usecases.chart import Chart
from services.account.usecases.posting import COMMANDS_PER_TRANSACTION_MAX, WRITERS, Posting
from tests.bench import ledger_house
from tests.bench.ledger import IN_FLIGHT, ROUNDS, WARM_UP_S, Runs, coalesced, run
from tests.bench.ledger_house import Pool, hot, uniform
from tests.bench.load import closed_loop

FUNCTION = Path(__file__).with_suffix(".sql")
CALL = "SELECT * FROM bench_post($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_REFUSALS = {"INSUFFICIENT_FUNDS": errors.InsufficientFunds, "SAME_ACCOUNT": errors.SameAccount}


class FunctionPosting:
    """Plain transfers through the function, in the place of Posting."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._clock = SystemClock()
        self.coalescer: Coalescer[Sequence[Transfer], list[TransferVerdict]] = Coalescer(
            self._book_calls, name="function", workers=WRITERS, linger_max_s=0.005
        )

    async def post_transfers(self, transfers: Sequence[Transfer]) -> list[TransferVerdict]:
        """As Posting's."""
        return await self.coalescer.submit(transfers)

    async def _book_calls(self, calls: list[Sequence[Transfer]]) -> list[list[TransferVerdict]]:
        commands = [transfer for call in calls for transfer in call]
        assert len(commands) <= COMMANDS_PER_TRANSACTION_MAX
        verdicts = iter(await self._book(commands))
        return [[next(verdicts) for _ in call] for call in calls]

    async def _book(self, commands: Sequence[Transfer]) -> list[TransferVerdict]:
        accounts = sorted(
            {each.debit_account_id for each in commands}
            | {each.credit_account_id for each in commands}
        )
        places = {name: place for place, name in enumerate(accounts, start=1)}
        now = self._clock.now()
        row = await self._pool.fetchrow(
            CALL,
            [each.transfer_id for each in commands],
            [places[each.debit_account_id] for each in commands],
            [places[each.credit_account_id] for each in commands],
            [each.amount_minor for each in commands],
            [each.reference for each in commands],
            [each.description for each in commands],
            accounts,
            now,
            now.astimezone(UTC).date(),
        )
        assert row is not None
        verdicts = []
        for place, each in enumerate(commands):
            refusal = row["refusals"][place]
            verdicts.append(
                TransferVerdict(
                    transfer_id=each.transfer_id,
                    booked=not refusal,
                    error=_REFUSALS[refusal]() if refusal else None,
                    debit=_balance(
                        each.debit_account_id,
                        row["debit_afters_minor"][place],
                        row["debit_sequences"][place],
                    ),
                    credit=_balance(
                        each.credit_account_id,
                        row["credit_afters_minor"][place],
                        row["credit_sequences"][place],
                    ),
                    applied_minor=each.amount_minor,
                )
            )
        return verdicts


def _balance(account_id: str, posted_minor: int, sequence: int) -> Balance:
    return Balance(
        account_id=account_id,
        role=Role.MERCHANT_PENDING,
        currency="CNY",
        credits_minor=posted_minor,
        sequence=sequence,
    )


async def serve() -> None:
    """The service with the function in the place of the engine; told by the environment as the real one is."""
    log.configure("account", "WARNING")
    url = os.environ["FISC_ACCOUNT_DATABASE_URL"]
    async with await open_pool(
        url, size=8, application_name="fisc-account", settings=BY_KEYS
    ) as pool:
        posting = FunctionPosting(pool)
        servicer = AccountServicer(Chart(Store(pool), SystemClock()), cast(Posting, posting))
        server = RpcServer(
            registrations=[servicer.register],
            service_names=[SERVICE_NAME],
            port=int(os.environ["FISC_ACCOUNT_GRPC_PORT"]),
        )
        async with posting.coalescer:
            await server.start()
            await asyncio.Event().wait()


async def compare() -> None:
    """Both in turns, uniform and hot."""
    with ledger_house.open_cluster() as cluster:
        urls = [await ledger_house.make_database(cluster, name) for name in ("ours", "functions")]
        async with await open_pool(urls[1], size=1, application_name="bench") as pool:
            await pool.execute(FUNCTION.read_text())
        module = "tests.bench.ledger_plpgsql"
        async with (
            ledger_house.serving(cluster, urls[0]) as ours,
            ledger_house.serving(cluster, urls[1], module=module) as other,
        ):
            for pick in (uniform, hot):
                runs = {"decided in Python": Runs(), "decided in PL/pgSQL": Runs()}
                async with coalesced(ours, pick) as one, coalesced(other, pick) as two:
                    for call in (one, two):
                        await closed_loop(call, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
                    for _ in range(ROUNDS + 2):
                        for each, house, call in zip(
                            runs.values(), (ours, other), (one, two), strict=True
                        ):
                            await run(each, house, call, in_flight=IN_FLIGHT)
                for name, each in runs.items():
                    used = {
                        part: round(each.per_transfer(f"{part}_s") * 1e6)
                        for part in ("client", "service", "postgres")
                    }
                    wal_bytes = round(each.per_transfer("wal_bytes"))
                    print(
                        f"{pick.__name__:8} {name:20} {each.rate:8.0f} transfers/s, p99 {each.p_ms('p99'):6.1f} ms, "
                        f"CPU µs a transfer {used}, {wal_bytes} bytes of log"
                    )


if __name__ == "__main__":
    memory.settle()
    uvloop.run(serve() if "FISC_ACCOUNT_GRPC_PORT" in os.environ else compare())
