"""OperationsService, the part for people: who they are, what is stuck, what they force, and the chain of what they did."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import grpc

from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc
from libs.audit import Record
from libs.paging import PageRequest
from libs.rpc.convert import to_timestamp
from services.gateway.domain.cases import Case
from services.gateway.domain.forcing import Force, ForceState
from services.gateway.domain.stuck import StuckLine, Why
from services.gateway.handlers import auth
from services.gateway.usecases.forcing import Forcing
from services.gateway.usecases.operators import Operators
from services.gateway.usecases.oversight import Oversight

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_F, _S = operations_pb2.Force, operations_pb2.StuckSaga
FORCE_STATES: Final[Mapping[ForceState, operations_pb2.Force.State.ValueType]] = {
    ForceState.PROPOSED: _F.STATE_PROPOSED,
    ForceState.APPLIED: _F.STATE_APPLIED,
    ForceState.REJECTED: _F.STATE_REJECTED,
    ForceState.STALE: _F.STATE_STALE,
}
WHYS: Final[Mapping[Why | None, operations_pb2.StuckSaga.Why.ValueType]] = {
    None: _S.WHY_UNSPECIFIED,
    Why.MANUAL: _S.WHY_MANUAL,
    Why.QUARANTINED: _S.WHY_QUARANTINED,
    Why.OVERDUE: _S.WHY_OVERDUE,
}


class InterventionHandlers(operations_pb2_grpc.OperationsServiceServicer):
    """Contract ↔ use cases."""

    def __init__(self, *, operators: Operators, oversight: Oversight, forcing: Forcing) -> None:
        self._operators = operators
        self._oversight = oversight
        self._forcing = forcing

    async def CreateOperator(
        self, request: operations_pb2.CreateOperatorRequest, context: Context
    ) -> operations_pb2.CreateOperatorResponse:
        operator_key = await self._operators.create(
            request.operator_id, request.request_id, actor_id=auth.platform()
        )
        return operations_pb2.CreateOperatorResponse(operator_key=operator_key)

    async def RevokeOperator(
        self, request: operations_pb2.RevokeOperatorRequest, context: Context
    ) -> operations_pb2.RevokeOperatorResponse:
        await self._operators.revoke(request.operator_id, actor_id=auth.platform())
        return operations_pb2.RevokeOperatorResponse()

    async def ListStuckSagas(
        self, request: operations_pb2.ListStuckSagasRequest, context: Context
    ) -> operations_pb2.ListStuckSagasResponse:
        lines = await self._oversight.stuck(request.flow, request.page_size)
        return operations_pb2.ListStuckSagasResponse(sagas=[_stuck(line) for line in lines])

    async def RetrySaga(
        self, request: operations_pb2.RetrySagaRequest, context: Context
    ) -> operations_pb2.RetrySagaResponse:
        line = await self._oversight.retry(request.subject_id, actor_id=auth.person())
        return operations_pb2.RetrySagaResponse(saga=_stuck(line))

    async def ProposeForce(
        self, request: operations_pb2.ProposeForceRequest, context: Context
    ) -> operations_pb2.ProposeForceResponse:
        force = await self._forcing.propose(
            request.subject_id,
            to_state=request.to_state,
            note=request.note,
            request_id=request.request_id,
            maker_id=auth.person(),
        )
        return operations_pb2.ProposeForceResponse(force=_force(force))

    async def DecideForce(
        self, request: operations_pb2.DecideForceRequest, context: Context
    ) -> operations_pb2.DecideForceResponse:
        force = await self._forcing.decide(
            request.force_id,
            is_approved=request.is_approved,
            note=request.note,
            checker_id=auth.person(),
        )
        return operations_pb2.DecideForceResponse(force=_force(force))

    async def ListForces(
        self, request: operations_pb2.ListForcesRequest, context: Context
    ) -> operations_pb2.ListForcesResponse:
        state = next((ours for ours, said in FORCE_STATES.items() if said == request.state), "")
        page = await self._forcing.page(state, PageRequest(request.page_size, request.page_token))
        return operations_pb2.ListForcesResponse(
            forces=[_force(force) for force in page.items], next_page_token=page.next_token
        )

    async def ListCases(
        self, request: operations_pb2.ListCasesRequest, context: Context
    ) -> operations_pb2.ListCasesResponse:
        page = await self._oversight.cases(
            PageRequest(request.page_size, request.page_token), only_open=request.is_open
        )
        return operations_pb2.ListCasesResponse(
            cases=[_case(case) for case in page.items], next_page_token=page.next_token
        )

    async def ListAuditRecords(
        self, request: operations_pb2.ListAuditRecordsRequest, context: Context
    ) -> operations_pb2.ListAuditRecordsResponse:
        page = await self._oversight.records(
            request.subject_id, PageRequest(request.page_size, request.page_token)
        )
        return operations_pb2.ListAuditRecordsResponse(
            records=[_record(record) for record in page.items], next_page_token=page.next_token
        )

    async def VerifyAuditChain(
        self, request: operations_pb2.VerifyAuditChainRequest, context: Context
    ) -> operations_pb2.VerifyAuditChainResponse:
        verdict = await self._oversight.verify()
        return operations_pb2.VerifyAuditChainResponse(
            records_count=verdict.records_count,
            first_broken_number=verdict.first_broken_number,
            last_hash=verdict.last_hash if verdict.records_count else "",
        )


def _stuck(line: StuckLine) -> operations_pb2.StuckSaga:
    message = operations_pb2.StuckSaga(
        flow=line.flow,
        subject_id=line.subject_id,
        merchant_id=line.merchant_id,
        state=line.state,
        reason=line.reason,
        why=WHYS[line.why],
        created_at=to_timestamp(line.created_at),
        faults_count=line.faults_count,
        last_fault=line.last_fault,
    )
    if line.next_run_at is not None:
        message.next_run_at.CopyFrom(to_timestamp(line.next_run_at))
    return message


def _force(force: Force) -> operations_pb2.Force:
    message = operations_pb2.Force(
        force_id=force.force_id,
        subject_id=force.subject_id,
        to_state=force.to_state,
        note=force.note,
        state=FORCE_STATES[force.state],
        maker_id=force.maker_id,
        checker_id=force.checker_id,
        decision_note=force.decision_note,
        proposed_at=to_timestamp(force.proposed_at),
        subject_version=force.subject_version,
    )
    if force.decided_at is not None:
        message.decided_at.CopyFrom(to_timestamp(force.decided_at))
    return message


def _case(case: Case) -> operations_pb2.Case:
    message = operations_pb2.Case(
        case_id=case.case_id,
        subject_id=case.subject_id,
        merchant_id=case.merchant_id,
        reason=case.reason,
        opened_at=to_timestamp(case.opened_at),
        resolution=case.resolution,
    )
    if case.closed_at is not None:
        message.closed_at.CopyFrom(to_timestamp(case.closed_at))
    return message


def _record(record: Record) -> operations_pb2.AuditRecord:
    return operations_pb2.AuditRecord(
        number=record.number,
        at=to_timestamp(record.at),
        operator_id=record.actor_id,
        action=record.action,
        subject_id=record.subject_id,
        detail=record.detail,
        hash=record.hash,
    )
