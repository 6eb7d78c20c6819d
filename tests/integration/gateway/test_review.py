"""A payment that waits for a person of risk."""

import secrets

import pytest

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import payment_pb2
from fisc.risk.v1 import risk_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House

CARD = method_pb2.PAYMENT_METHOD_CARD
P = payment_pb2.Payment


async def review_above(
    house: House, amount_minor: int, verdict: risk_pb2.Verdict.ValueType
) -> None:
    await house.risk.UpsertRule(
        risk_pb2.UpsertRuleRequest(
            request_id=secrets.token_hex(8),
            rule=risk_pb2.Rule(
                rule_id=f"single-{house.merchant_id}",
                merchant_id=house.merchant_id,
                currency="CNY",
                verdict=verdict,
                enabled=True,
                single_limit=risk_pb2.SingleLimit(amount_maximum_minor=amount_minor),
            ),
        ),
        timeout=TIMEOUT_S,
    )


async def open_case_of(house: House) -> risk_pb2.Case:
    cases = await house.risk.ListCases(
        risk_pb2.ListCasesRequest(state=risk_pb2.Case.STATE_OPEN, page_size=1000), timeout=TIMEOUT_S
    )
    [case] = [case for case in cases.cases if case.evaluation.merchant_id == house.merchant_id]
    return case


@pytest.mark.parametrize(
    ("approved", "state", "reason"),
    [(True, P.STATE_SUCCEEDED, ""), (False, P.STATE_FAILED, "RISK_REJECTED")],
)
async def test_a_reviewed_payment_goes_on_when_a_person_has_decided(
    house: House, approved: bool, state: P.State.ValueType, reason: str
) -> None:
    channel = await house.new_channel(CARD)
    await review_above(house, 100, risk_pb2.VERDICT_REVIEW)

    payment = await house.pay(channel, amount_minor=101)
    assert payment.state == P.STATE_REQUIRES_REVIEW
    assert await house.book(channel) == []
    case = await open_case_of(house)
    await house.risk.DecideCase(
        risk_pb2.DecideCaseRequest(
            request_id=secrets.token_hex(8), case_id=case.case_id, approved=approved, actor="tester"
        ),
        timeout=TIMEOUT_S,
    )

    async def is_decided() -> bool:
        return (await house.get(payment.payment_id)).state == state

    await eventually(is_decided, 10)
    assert (await house.get(payment.payment_id)).reason == reason


async def test_a_denied_payment_is_failed_and_no_channel_hears_of_it(house: House) -> None:
    channel = await house.new_channel(CARD)
    await review_above(house, 100, risk_pb2.VERDICT_DENY)

    payment = await house.pay(channel, amount_minor=101)

    assert (payment.state, payment.reason) == (P.STATE_FAILED, "RISK_DENIED")
    assert await house.book(channel) == []
