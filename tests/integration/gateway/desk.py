"""The operators' desk on a real database and over real gRPC; the flows behind it stand in memory."""

import contextlib
import dataclasses
import random
import secrets
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc
from libs import audit
from libs.audit import Record, Verdict
from libs.clock import FrozenClock
from libs.db.pool import Pool, open_pool
from libs.errors import RemoteError
from libs.ids import SortableIds
from libs.rpc import client, server
from libs.rpc.convert import to_timestamp
from services.gateway.domain import saga
from services.gateway.domain.errors import ForceRefused
from services.gateway.domain.forcing import SubjectFacts
from services.gateway.domain.stuck import StuckLine, Why
from services.gateway.handlers.auth import OperatorInterceptor
from services.gateway.handlers.interventions import InterventionHandlers
from services.gateway.store.operators import OperatorStore
from services.gateway.usecases.forcing import Forcing
from services.gateway.usecases.operators import Operators
from services.gateway.usecases.oversight import Oversight

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
TIMEOUT_S = 20.0
Metadata = tuple[tuple[str, str], ...]


class MemoryFlow:
    """Subjects of one flow: what drivers and stores would say of them."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.subjects: dict[str, SubjectFacts] = {}
        self.forces = 0
        self.resolved: list[str] = []
        self.refuses = False
        self.crashes_after_force = False

    def add(self, subject_id: str, state: str = "MANUAL", version: int = 7) -> str:
        self.subjects[subject_id] = SubjectFacts(
            flow=self.flow,
            state=state,
            reason="OUTCOME_UNKNOWN",
            version=version,
            merchant_id="mer_1",
        )
        return subject_id

    def move(self, subject_id: str, state: str) -> None:
        """Something else happened to it."""
        facts = self.subjects[subject_id]
        self.subjects[subject_id] = dataclasses.replace(
            facts, state=state, version=facts.version + 1
        )

    async def look(self, subject_id: str) -> SubjectFacts | None:
        return self.subjects.get(subject_id)

    async def force(
        self, subject_id: str, *, to_state: str, from_state: str, from_reason: str
    ) -> int | None:
        facts = self.subjects[subject_id]
        if self.refuses:
            raise ForceRefused(state=facts.state)
        if (facts.state, facts.reason) != (from_state, from_reason):
            return None
        if to_state == saga.RESOLVED:
            return self._resolve(subject_id, facts)
        self.subjects[subject_id] = dataclasses.replace(
            facts, state=to_state, reason=saga.FORCED, version=facts.version + 1
        )
        self.forces += 1
        if self.crashes_after_force:
            self.crashes_after_force = False
            raise ConnectionResetError("the process dies here")
        return facts.version + 1

    def _resolve(self, subject_id: str, facts: SubjectFacts) -> int:
        """It keeps its state; the case of it is the flow's to close."""
        if facts.state == "MANUAL":
            raise ForceRefused(state=facts.state)
        self.subjects[subject_id] = dataclasses.replace(facts, version=facts.version + 1)
        self.resolved.append(subject_id)
        return facts.version + 1


class MemorySagas:
    """All flows as the on-call's lists see them."""

    def __init__(self, flows: dict[str, MemoryFlow]) -> None:
        self._flows = flows

    async def stuck(self, flow: str, now: datetime, limit: int) -> list[StuckLine]:
        subjects = self._flows[flow].subjects
        return [
            self._line(flow, subject_id)
            for subject_id in sorted(subjects)
            if subjects[subject_id].state == "MANUAL"
        ][:limit]

    async def retry(self, subject_id: str, now: datetime) -> StuckLine | None:
        flow = next(name for name, each in self._flows.items() if subject_id in each.subjects)
        if self._flows[flow].subjects[subject_id].state in {"SUCCEEDED", "FAILED"}:
            return None
        return dataclasses.replace(self._line(flow, subject_id), next_run_at=now)

    def _line(self, flow: str, subject_id: str) -> StuckLine:
        facts = self._flows[flow].subjects[subject_id]
        return StuckLine(
            flow=flow,
            subject_id=subject_id,
            merchant_id=facts.merchant_id,
            state=facts.state,
            reason=facts.reason,
            why=Why.MANUAL,
            created_at=NOW,
            next_run_at=None,
            faults_count=0,
            last_fault="",
        )


class DeskHandlers(InterventionHandlers):
    """The part for people, and a history to show."""

    async def GetEvidence(  # noqa: N802 -- the contract's name
        self, request: operations_pb2.GetEvidenceRequest, context: Any
    ) -> operations_pb2.GetEvidenceResponse:
        line = operations_pb2.HistoryLine(at=to_timestamp(NOW), text=f"{request.subject_id} began.")
        return operations_pb2.GetEvidenceResponse(history=[line])


@dataclasses.dataclass
class Desk:
    """What a test needs of it."""

    stub: "operations_pb2_grpc.OperationsServiceAsyncStub"
    target: str
    pool: Pool
    store: OperatorStore
    flows: dict[str, MemoryFlow]
    clock: FrozenClock
    token: str

    @property
    def platform(self) -> Metadata:
        return bearer(self.token)

    async def hire(self, operator_id: str) -> Metadata:
        """A person, and the metadata they send."""
        made = await self.call(
            "CreateOperator", operations_pb2.CreateOperatorRequest, operator_id=operator_id
        )
        return bearer(made.operator_key)

    async def call(
        self, name: str, request: Any, who: Metadata | None = None, **fields: Any
    ) -> Any:
        """Call with a fresh request_id where there is one, as the platform unless told otherwise."""
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", secrets.token_hex(8))
        return await client.call(
            getattr(self.stub, name),
            request(**fields),
            timeout_s=TIMEOUT_S,
            metadata=self.platform if who is None else who,
        )

    async def propose(
        self, who: Metadata, subject_id: str, to_state: str = "SUCCEEDED", **fields: Any
    ) -> operations_pb2.Force:
        fields = {"note": "line 12 of the bill", **fields}
        answer = await self.call(
            "ProposeForce",
            operations_pb2.ProposeForceRequest,
            who,
            subject_id=subject_id,
            to_state=to_state,
            **fields,
        )
        return answer.force  # type: ignore[no-any-return]  # by name

    async def decide(
        self, who: Metadata, force_id: str, *, is_approved: bool = True
    ) -> operations_pb2.Force:
        answer = await self.call(
            "DecideForce",
            operations_pb2.DecideForceRequest,
            who,
            force_id=force_id,
            is_approved=is_approved,
            note="compared",
        )
        return answer.force  # type: ignore[no-any-return]  # by name

    async def records(self) -> list[Record]:
        """The chain, oldest first."""
        return list(reversed(await self.store.list_records("", 0, 1000)))

    async def deeds(self) -> list[tuple[str, str, str]]:
        """(who, what, to what), oldest first."""
        return [(each.actor_id, each.action, each.subject_id) for each in await self.records()]

    async def verdict(self) -> Verdict:
        async with self.pool.acquire() as connection:
            return await audit.check(connection)


async def refusal(call: Awaitable[object]) -> str:
    """The reason a call must be refused for."""
    with pytest.raises(RemoteError) as caught:
        await call
    return str(caught.value.reason)


async def two(desk: Desk) -> tuple[Metadata, Metadata]:
    return await desk.hire("maker"), await desk.hire("checker")


async def add_case(desk: Desk, number: int, *, closed: bool = False, subject_id: str = "") -> None:
    at = NOW + timedelta(minutes=number)
    await desk.pool.execute(
        "INSERT INTO manual_case (case_id, subject_id, merchant_id, reason, opened_at, closed_at, resolution)"
        " VALUES ($1, $2, 'mer_1', 'OUTCOME_UNKNOWN', $3, $4, $5)",
        f"case_{number}",
        subject_id or f"pay_{number}",
        at,
        at if closed else None,
        "SUCCEEDED" if closed else "",
    )


def bearer(secret: str) -> Metadata:
    return (("authorization", f"Bearer {secret}"),)


class Tokens:
    """Secrets of keys."""

    def token(self) -> str:
        return secrets.token_urlsafe(32)


@contextlib.asynccontextmanager
async def open_desk(database_url: str) -> AsyncIterator[Desk]:
    """The part of OperationsService that is for people."""
    pool = await open_pool(database_url, size=4, application_name="test")
    clock = FrozenClock(NOW)
    ids = SortableIds(clock, random.SystemRandom())
    store = OperatorStore(pool)
    flows = {name: MemoryFlow(name) for name in ("payment", "capture", "refund", "payout")}
    operators = Operators(store=store, clock=clock, ids=ids, secrets=Tokens())
    # The rest of the contract is not called here, and so not implemented.
    partial_handlers: Any = DeskHandlers
    handlers = partial_handlers(
        operators=operators,
        oversight=Oversight(sagas=MemorySagas(flows), flows=flows, store=store, clock=clock),
        forcing=Forcing(store=store, flows=flows, clock=clock, ids=ids),
    )
    token = secrets.token_urlsafe(32)

    def register(grpc_server: grpc.aio.Server) -> None:
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(handlers, grpc_server)

    async with (
        pool,
        server.running(
            registrations=[register], extra_interceptors=[OperatorInterceptor(token, operators)]
        ) as target,
        client.open_channel(target, peer="test") as channel,
    ):
        yield Desk(
            stub=operations_pb2_grpc.OperationsServiceStub(channel),
            target=target,
            pool=pool,
            store=store,
            flows=flows,
            clock=clock,
            token=token,
        )
