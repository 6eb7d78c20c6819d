"""Payments, captures, refunds, payouts and their attempts in Postgres: libs.saga's tables, and what crosses them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import asyncpg

from libs import crashpoints
from libs.db import queries
from libs.db.pool import Connection, Pool
from libs.saga import table
from libs.saga.flow import StaleWrite, Step
from libs.saga.table import BacklogLine, Saved, TableSpec, rows
from services.gateway.domain import follow_up, payment, payout
from services.gateway.domain import next_action as next_actions
from services.gateway.domain.capture import Capture
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund, RefundOrigin
from services.gateway.domain.saga import Attempt, AttemptState, CloseCase, OpenCase

_SQL = queries.load(Path(__file__).parent / "sagas.sql")
# Written by whoever creates the row, or by statements of their own.
_PAYMENT_CHANGING = (
    "reason",
    "channel_id",
    "attempts_count",
    "query_count",
    "next_action",
    "auth_code",
    "cancel_requested",
    "captured_minor",
    "is_captured",
    "authorized_until",
    "succeeded_at",
    "expires_at",
    "hard_deadline_at",
)
_FOLLOW_UP_CHANGING = ("reason", "query_count", "succeeded_at")
_PAYOUT_CHANGING = (
    "reason",
    "channel_id",
    "attempts_count",
    "query_count",
    "next_action",
    "succeeded_at",
    "returned_at",
    "hard_deadline_at",
)
UNKNOWN_ATTEMPTS_MAX = 1000

Subject: TypeAlias = Payment | Capture | Refund | Payout
S = TypeVar("S", bound=Subject)
F = TypeVar("F", Capture, Refund)


class SagaTable(table.SagaTable[S, Attempt]):
    """The rows of one flow, and how people page through them."""

    async def page(self, *arguments: object) -> list[S]:
        """Rows of list_<flow>s, newest first; the arguments are the query's."""
        found = await self._pool.fetch(_SQL[f"list_{self.flow}s"], *arguments)
        return [self._spec.restore(row) for row in found]

    async def many(self, ids: Sequence[str]) -> list[S]:
        """Those of these that there are, in no order."""
        found = await self._pool.fetch(_SQL[f"get_{self.flow}s"], list(ids))
        return [self._spec.restore(row) for row in found]

    async def find_request(self, merchant_id: str, request_id: str) -> S | None:
        """What a merchant made with this request_id."""
        row = await self._pool.fetchrow(_SQL[f"find_{self.flow}"], merchant_id, request_id)
        return None if row is None else self._spec.restore(row)


class SagaStore:
    """All flows, and what crosses them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.refunds = SagaTable[Refund](pool, self._follow_up_spec("refund", _refund))
        self.captures = SagaTable[Capture](pool, self._follow_up_spec("capture", _capture))
        self.payments = SagaTable[Payment](
            pool,
            TableSpec(
                flow="payment",
                identity=("merchant_id", "request_id"),
                changing=_PAYMENT_CHANGING,
                states=_values(PaymentState),
                ended=_values(payment.ENDED - {PaymentState.MANUAL}),
                resting=[PaymentState.AUTHORIZED.value],
                flow_version=payment.FLOW_VERSION,
                restore=_payment,
                attempts_of=_attempts_of,
                write_beside=self._beside,
            ),
        )
        self.payouts = SagaTable[Payout](
            pool,
            TableSpec(
                flow="payout",
                identity=("merchant_id", "request_id"),
                changing=_PAYOUT_CHANGING,
                states=_values(PayoutState),
                ended=_values(payout.ENDED),
                flow_version=payout.FLOW_VERSION,
                restore=_payout,
                attempts_of=_attempts_of,
                write_beside=_beside,
            ),
        )

    async def create_follow_up(self, into: SagaTable[F], new: Saved[F, Attempt]) -> F | None:
        """Reserves what it takes of its payment and writes the intent, in one transaction.

        None when the payment cannot bear it. A request_id written before answers that one and reserves nothing.
        """
        order = new.step.subject
        async with self._pool.acquire() as connection, connection.transaction():
            existing = await into.find(connection, order)
            if existing is not None:
                return existing
            reserved = await connection.fetchrow(
                _SQL[f"reserve_{order.kind}"],
                order.payment_id,
                order.amount_minor,
                order.created_at,
            )
            if reserved is None:
                return None
            if not await into.insert(connection, [new]):
                # The same request came twice at once and the other one was first: undo the reservation by leaving.
                raise StaleWrite(f"the same {order.kind} is being written by another call")
            crashpoints.reach("K1")
        crashpoints.reach("K2")
        return order

    async def find_attempt(self, channel_id: str, out_ref: str) -> Attempt | None:
        """The attempt a channel knows by this reference."""
        row = await self._pool.fetchrow(_SQL["find_attempt"], channel_id, out_ref)
        return None if row is None else _attempt(row)

    async def backlog(self) -> list[BacklogLine]:
        """What has not ended, of every flow, and notifications that were not applied."""
        lines = [line for each in self.tables for line in await each.backlog()]
        callbacks = await self._pool.fetch(_SQL["callback_backlog"])
        return [*lines, *(BacklogLine(flow="callback", **dict(row)) for row in callbacks)]

    @property
    def tables(self) -> "Sequence[SagaTable[Any]]":
        return (self.payments, self.captures, self.refunds, self.payouts)

    async def unknown_by_channel(self) -> dict[str, int]:
        """How many orders at each channel have no known outcome."""
        found = await self._pool.fetch(_SQL["unknown_by_channel"])
        return {row["channel_id"]: row["count"] for row in found}

    async def tell_bill(self, channel_id: str, day: date, now: datetime) -> None:
        """Remembers that a channel's bill of this day has said all it has to say. Idempotent."""
        await self._pool.execute(_SQL["bill_told"], channel_id, day, now)

    async def is_bill_told(self, channel_id: str, day: date) -> bool:
        return bool(await self._pool.fetchval(_SQL["is_bill_told"], channel_id, day))

    async def unknown_attempts(
        self, channel_id: str, start: datetime, end: datetime
    ) -> list[Attempt]:
        """Attempts at a channel without a definite word, sent from start until before end."""
        found = await self._pool.fetch(
            _SQL["unknown_attempts"], channel_id, start, end, UNKNOWN_ATTEMPTS_MAX
        )
        return [_attempt(row) for row in found]

    async def history(self, subject_id: str) -> list[tuple[datetime, str]]:
        """(when, event type) of everything told about a subject."""
        found = await self._pool.fetch(_SQL["events_of"], subject_id)
        return [(row["occurred_at"], row["type"]) for row in found]

    def _follow_up_spec(self, flow: str, restore: Any) -> TableSpec[Any, Attempt]:
        return TableSpec(
            flow=flow,
            identity=("merchant_id", "request_id"),
            changing=_FOLLOW_UP_CHANGING,
            states=_values(FollowUpState),
            ended=_values(follow_up.ENDED),
            flow_version=follow_up.FLOW_VERSION,
            restore=restore,
            attempts_of=_attempts_of,
            write_beside=self._beside_follow_ups,
        )

    async def _beside_follow_ups(
        self, connection: Connection, steps: Sequence[Step[F, Attempt]]
    ) -> None:
        await self._beside(connection, steps)
        for step in sorted(steps, key=lambda step: step.subject.payment_id):
            for said in step.beside:
                if isinstance(said, follow_up.Squared):
                    await _square(connection, step.subject, is_taken=said.is_taken)

    async def _beside(self, connection: Connection, steps: Sequence[Step[Any, Attempt]]) -> None:
        """A success that came late is refunded: that refund is born with the word of it."""
        await _beside(connection, steps)
        born = [said for step in steps for said in step.beside if isinstance(said, Step)]
        if born:
            await self.refunds.insert(connection, [Saved(step=step, events=()) for step in born])


async def nudge_in_review(
    connection: Connection, evaluation_ids: Sequence[str], now: datetime
) -> None:
    """Makes what waits for these decisions due, in the caller's transaction."""
    for name in ("payments", "payouts"):
        await connection.execute(_SQL[f"nudge_{name}_in_review"], list(evaluation_ids), now)


async def _beside(connection: Connection, steps: Sequence[Step[Any, Attempt]]) -> None:
    attempts = [attempt for step in steps for attempt in step.attempts]
    if attempts:
        await connection.execute(_SQL["write_attempts"], rows(attempts))
    said = [(step.subject, each) for step in steps for each in step.beside]
    if not said:
        return
    now = steps[-1].subject.updated_at
    opened = [
        {**asdict(each), "case_id": each.case_id(subject.version)}
        for subject, each in said
        if isinstance(each, OpenCase)
    ]
    closed = [asdict(each) for _, each in said if isinstance(each, CloseCase)]
    if opened:
        await connection.execute(_SQL["open_cases"], opened, now)
    if closed:
        await connection.execute(_SQL["close_cases"], closed, now)


async def _square(connection: Connection, order: Capture | Refund, *, is_taken: bool) -> None:
    """What an order's end means for its payment."""
    terms = (order.payment_id, order.amount_minor, order.updated_at)
    if not is_taken:
        await connection.execute(_SQL[f"give_back_{order.kind}"], *terms)
    elif isinstance(order, Capture):
        await connection.execute(_SQL["settle_capture"], *terms, order.is_final)


async def _attempts_of(connection: Connection, subject_id: str) -> tuple[Attempt, ...]:
    found = await connection.fetch(_SQL["get_attempts"], [subject_id])
    return tuple(_attempt(row) for row in found)


def _values(states: Any) -> Collection[str]:
    return [state.value for state in states]


def _payment(row: asyncpg.Record) -> Payment:
    return Payment(
        **{
            **dict(row),
            "state": PaymentState(row["state"]),
            "plan": tuple(row["plan"]),
            "next_action": next_actions.restore(row["next_action"]),
        }
    )


def _capture(row: asyncpg.Record) -> Capture:
    return Capture(**{**dict(row), "state": FollowUpState(row["state"])})


def _refund(row: asyncpg.Record) -> Refund:
    return Refund(
        **{
            **dict(row),
            "state": FollowUpState(row["state"]),
            "origin": RefundOrigin(row["origin"]),
        }
    )


def _payout(row: asyncpg.Record) -> Payout:
    return Payout(
        **{
            **dict(row),
            "state": PayoutState(row["state"]),
            "plan": tuple(row["plan"]),
            "next_action": next_actions.restore(row["next_action"]),
        }
    )


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(**{**dict(row), "state": AttemptState(row["state"])})
