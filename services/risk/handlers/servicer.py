"""fisc.risk.v1.RiskService."""

from typing import Any

import grpc
from typing_extensions import override

from fisc.risk.v1 import risk_pb2, risk_pb2_grpc
from libs.errors import FiscError
from libs.paging import PageRequest
from services.risk.domain.model import CaseState, ListName, Outcome
from services.risk.handlers import convert
from services.risk.usecases.administration import Administration
from services.risk.usecases.cases import Cases
from services.risk.usecases.evaluation import Evaluations

Context = grpc.aio.ServicerContext[Any, Any]


class RiskServicer(risk_pb2_grpc.RiskServiceServicer):
    """Messages in, messages out; the use cases decide."""

    def __init__(
        self, *, evaluations: Evaluations, administration: Administration, cases: Cases
    ) -> None:
        """One servicer serves all RPCs of the service."""
        self._evaluations = evaluations
        self._administration = administration
        self._cases = cases

    def register(self, server: grpc.aio.Server) -> None:
        """Serve it there."""
        risk_pb2_grpc.add_RiskServiceServicer_to_server(self, server)

    @override
    async def Evaluate(
        self, request: risk_pb2.EvaluateRequest, context: Context
    ) -> risk_pb2.EvaluateResponse:
        evaluation = convert.evaluation_from_proto(request.evaluation)
        (result,) = await self._evaluations.evaluate([evaluation])
        if isinstance(result, FiscError):
            # Items name fields from themselves on; this request holds its item in a field.
            result.field = f"evaluation.{result.field}"
            raise result
        return risk_pb2.EvaluateResponse(decision=convert.decision_to_proto(result))

    @override
    async def EvaluateBatch(
        self, request: risk_pb2.EvaluateBatchRequest, context: Context
    ) -> risk_pb2.EvaluateBatchResponse:
        evaluations = [convert.evaluation_from_proto(item) for item in request.evaluations]
        results = await self._evaluations.evaluate(evaluations)
        return risk_pb2.EvaluateBatchResponse(results=map(convert.result_to_proto, results))

    @override
    async def RecordOutcomes(
        self, request: risk_pb2.RecordOutcomesRequest, context: Context
    ) -> risk_pb2.RecordOutcomesResponse:
        outcomes = [
            Outcome(evaluation_id=outcome.evaluation_id, succeeded=outcome.succeeded)
            for outcome in request.outcomes
        ]
        recorded_count = await self._evaluations.record_outcomes(outcomes)
        return risk_pb2.RecordOutcomesResponse(recorded_count=recorded_count)

    @override
    async def UpsertRule(
        self, request: risk_pb2.UpsertRuleRequest, context: Context
    ) -> risk_pb2.UpsertRuleResponse:
        rule = convert.rule_from_proto(request.rule)
        stored = await self._administration.upsert_rule(request.request_id, rule)
        return risk_pb2.UpsertRuleResponse(rule=convert.rule_to_proto(stored))

    @override
    async def ListRules(
        self, request: risk_pb2.ListRulesRequest, context: Context
    ) -> risk_pb2.ListRulesResponse:
        page = await self._administration.list_rules(
            PageRequest(request.page_size, request.page_token)
        )
        return risk_pb2.ListRulesResponse(
            rules=map(convert.rule_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def AddListEntry(
        self, request: risk_pb2.AddListEntryRequest, context: Context
    ) -> risk_pb2.AddListEntryResponse:
        entry = convert.entry_from_proto(request.entry)
        stored = await self._administration.add_entry(request.request_id, entry)
        return risk_pb2.AddListEntryResponse(entry=convert.entry_to_proto(stored))

    @override
    async def RemoveListEntry(
        self, request: risk_pb2.RemoveListEntryRequest, context: Context
    ) -> risk_pb2.RemoveListEntryResponse:
        await self._administration.remove_entry(request.request_id, request.entry_id)
        return risk_pb2.RemoveListEntryResponse()

    @override
    async def ListListEntries(
        self, request: risk_pb2.ListListEntriesRequest, context: Context
    ) -> risk_pb2.ListListEntriesResponse:
        page = await self._administration.list_entries(
            convert.optional_enum(ListName, request.list, field="list"),
            PageRequest(request.page_size, request.page_token),
        )
        return risk_pb2.ListListEntriesResponse(
            entries=map(convert.entry_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def ListCases(
        self, request: risk_pb2.ListCasesRequest, context: Context
    ) -> risk_pb2.ListCasesResponse:
        page = await self._cases.list_cases(
            convert.optional_enum(CaseState, request.state, field="state"),
            PageRequest(request.page_size, request.page_token),
        )
        return risk_pb2.ListCasesResponse(
            cases=map(convert.case_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def GetCase(
        self, request: risk_pb2.GetCaseRequest, context: Context
    ) -> risk_pb2.GetCaseResponse:
        case = await self._cases.get(request.case_id)
        return risk_pb2.GetCaseResponse(case=convert.case_to_proto(case))

    @override
    async def DecideCase(
        self, request: risk_pb2.DecideCaseRequest, context: Context
    ) -> risk_pb2.DecideCaseResponse:
        case = await self._cases.decide(
            request.request_id,
            request.case_id,
            is_approved=request.approved,
            actor=request.actor,
            note=request.note,
        )
        return risk_pb2.DecideCaseResponse(case=convert.case_to_proto(case))
