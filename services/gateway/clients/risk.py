"""Risk over gRPC."""

from collections.abc import Sequence

from fisc.common.v1 import money_pb2
from fisc.risk.v1 import risk_pb2, risk_pb2_grpc
from libs.errors import FiscError
from libs.rpc.client import call
from libs.rpc.convert import error_from_item
from services.gateway.clients import peers
from services.gateway.clients.wire import METHODS, OPERATIONS
from services.gateway.domain.neighbours import RiskQuery, RiskVerdict

EVALUATE_TIMEOUT_S = 2.0
CASE_TIMEOUT_S = 2.0

_VERDICTS = {
    risk_pb2.VERDICT_ALLOW: "ALLOW",
    risk_pb2.VERDICT_REVIEW: "REVIEW",
    risk_pb2.VERDICT_DENY: "DENY",
}
_CASE_STATES = {
    risk_pb2.Case.STATE_OPEN: "OPEN",
    risk_pb2.Case.STATE_APPROVED: "APPROVED",
    risk_pb2.Case.STATE_REJECTED: "REJECTED",
}


class RiskClient:
    """Judges many at once."""

    def __init__(self, stub: "risk_pb2_grpc.RiskServiceAsyncStub") -> None:
        self._stub = stub
        self._breaker = peers.breaker("risk")

    async def evaluate(self, queries: Sequence[RiskQuery]) -> Sequence[RiskVerdict | FiscError]:
        request = risk_pb2.EvaluateBatchRequest(
            evaluations=[_evaluation(query) for query in queries]
        )
        try:
            response = await call(
                self._stub.EvaluateBatch,
                request,
                timeout_s=EVALUATE_TIMEOUT_S,
                breaker=self._breaker,
            )
        except FiscError as error:
            return [error] * len(queries)
        return [_verdict(result) for result in response.results]

    async def case_state(self, case_id: str) -> str:
        response = await call(
            self._stub.GetCase, risk_pb2.GetCaseRequest(case_id=case_id), timeout_s=CASE_TIMEOUT_S
        )
        return _CASE_STATES.get(response.case.state, "OPEN")


def _evaluation(query: RiskQuery) -> risk_pb2.Evaluation:
    return risk_pb2.Evaluation(
        evaluation_id=query.evaluation_id,
        merchant_id=query.merchant_id,
        operation=OPERATIONS[query.operation],
        amount=money_pb2.Money(currency=query.currency, amount_minor=query.amount_minor),
        method=METHODS[query.method],
        customer_id=query.customer_id,
        ip=query.ip,
        country=query.country,
        device_id=query.device_id,
        payer_token=query.payer_token,
        payee_account=query.payee_account,
        subject_id=query.subject_id,
    )


def _verdict(result: risk_pb2.EvaluateResult) -> RiskVerdict | FiscError:
    if result.WhichOneof("result") == "error":
        return error_from_item(result.error)
    decision = result.decision
    return RiskVerdict(verdict=_VERDICTS[decision.verdict], case_id=decision.case_id)
