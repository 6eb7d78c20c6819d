"""Hears at risk's feed that cases were decided, and makes what waits for them due."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import asyncpg

from fisc.common.v1 import events_pb2, events_pb2_grpc
from fisc.risk.v1 import risk_pb2
from libs.clock import Clock
from libs.db.pool import Pool
from libs.events import consumer

DECIDED = frozenset({"case.approved", "case.rejected"})

Nudge = Callable[["asyncpg.Connection[asyncpg.Record]", Sequence[str], datetime], Awaitable[None]]


def listening(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool, nudge: Nudge, clock: Clock
) -> Callable[[], Awaitable[None]]:
    """A background loop. It only hurries: a payment in review also asks by itself from time to time."""

    async def apply(
        connection: "asyncpg.Connection[asyncpg.Record]", events: Sequence[events_pb2.Event]
    ) -> None:
        evaluation_ids = []
        for event in events:
            if event.type in DECIDED:
                case = risk_pb2.Case()
                event.payload.Unpack(case)
                evaluation_ids.append(case.evaluation.evaluation_id)
        if evaluation_ids:
            await nudge(connection, evaluation_ids, clock.now())

    async def listen() -> None:
        await consumer.follow(stub=stub, consumer="gateway", source="risk", pool=pool, apply=apply)

    return listen
