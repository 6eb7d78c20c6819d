"""People at a running gateway: what two of them decide is booked, told and recorded."""

import grpc
import pytest

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import operations_pb2 as pb
from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House, reason_of
from tests.integration.gateway.people import call, force, hire

P = payment_pb2.Payment
QR = method_pb2.PAYMENT_METHOD_ALIPAY_QR


async def waiting(house: House) -> payment_pb2.Payment:
    """A payment whose payer never comes."""
    channel = await house.new_channel(QR, auto_pay_after_ms=None)
    payment = await house.pay(channel, method=QR)
    assert payment.state == P.STATE_PENDING
    return payment


async def test_a_payment_forced_by_two_people_is_booked_and_its_history_names_them(
    house: House,
) -> None:
    payment = await waiting(house)

    maker_id, checker_id = await force(house, payment.payment_id, "SUCCEEDED")

    assert (await house.get(payment.payment_id)).state == P.STATE_SUCCEEDED

    async def booked() -> bool:
        pending = await house.balance(f"merchant/{house.merchant_id}/pending/CNY")
        return bool(pending.posted_minor == payment.amount.amount_minor)

    await eventually(booked)
    evidence = await call(
        house.operations.GetEvidence,
        pb.GetEvidenceRequest(subject_id=payment.payment_id),
        house.operator,
    )
    texts = [line.text for line in evidence.history]
    assert texts[0].startswith("Payment of 19.99 CNY by ALIPAY_QR asked for by")
    assert any(text.startswith(f"{maker_id} proposed to force it to SUCCEEDED") for text in texts)
    assert any(text.startswith(f"{checker_id} approved for_") for text in texts)
    assert "Succeeded: FORCED." in texts
    chain = await call(
        house.operations.VerifyAuditChain, pb.VerifyAuditChainRequest(), house.operator
    )
    assert chain.first_broken_number == 0


async def test_a_retry_asks_the_channel_at_once_and_an_end_is_not_tried_again(
    house: House,
) -> None:
    payment = await waiting(house)
    _, maker = await hire(house)
    request = pb.RetrySagaRequest(request_id="retry-1", subject_id=payment.payment_id)

    answer = await call(house.operations.RetrySaga, request, maker)
    await house.payments.CancelPayment(
        payment_pb2.CancelPaymentRequest(request_id="stop-1", payment_id=payment.payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    await house.ended(payment.payment_id)

    assert (answer.saga.flow, answer.saga.state) == ("payment", "PENDING")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(house.operations.RetrySaga, request, maker)
    assert reason_of(refused.value) == "SAGA_ENDED"


async def test_what_is_well_is_not_listed_as_stuck(house: House) -> None:
    payment = await waiting(house)

    answer = await call(house.operations.ListStuckSagas, pb.ListStuckSagasRequest(), house.operator)

    assert payment.payment_id not in [saga.subject_id for saga in answer.sagas]
