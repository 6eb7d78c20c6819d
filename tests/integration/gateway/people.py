"""What people do at a running gateway, and what a bill tells it."""

import secrets
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fisc.account.v1 import account_pb2
from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import operations_pb2 as pb
from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House

Metadata = tuple[tuple[str, str], ...]
ZONE = ZoneInfo("Asia/Shanghai")
SUSPENSE = "platform/late-success/CNY"


async def call(method: Any, request: Any, who: Metadata) -> Any:
    return await method(request, timeout=TIMEOUT_S, metadata=who)


async def hire(house: House) -> tuple[str, Metadata]:
    """A new person: their id, and what they send."""
    operator_id = f"p{secrets.token_hex(6)}"
    made = await call(
        house.operations.CreateOperator,
        pb.CreateOperatorRequest(request_id=operator_id, operator_id=operator_id),
        house.operator,
    )
    return operator_id, (("authorization", f"Bearer {made.operator_key}"),)


async def force(house: House, subject_id: str, to_state: str) -> tuple[str, str]:
    """Two new people say how it ended: their ids."""
    (maker_id, maker), (checker_id, checker) = await hire(house), await hire(house)

    async def is_applied() -> bool:
        # What the channel says between the proposal and the decision moves it: then it is proposed anew.
        proposed = await call(
            house.operations.ProposeForce,
            pb.ProposeForceRequest(
                request_id=secrets.token_hex(8),
                subject_id=subject_id,
                to_state=to_state,
                note="line 12 of the bill",
            ),
            maker,
        )
        decided = await call(
            house.operations.DecideForce,
            pb.DecideForceRequest(force_id=proposed.force.force_id, is_approved=True),
            checker,
        )
        return bool(decided.force.state == pb.Force.STATE_APPLIED)

    await eventually(is_applied)
    return maker_id, checker_id


async def cases(house: House, subject_id: str) -> list[pb.Case]:
    request = pb.ListCasesRequest(page_size=1000)
    answer = await call(house.operations.ListCases, request, house.operator)
    return [case for case in answer.cases if case.subject_id == subject_id]


async def deeds(house: House, subject_id: str) -> list[tuple[str, str]]:
    """(who, what) of the audit chain about it, oldest first; the chain must be whole."""
    request = pb.ListAuditRecordsRequest(subject_id=subject_id, page_size=100)
    answer = await call(house.operations.ListAuditRecords, request, house.operator)
    chain = await call(
        house.operations.VerifyAuditChain, pb.VerifyAuditChainRequest(), house.operator
    )
    assert chain.first_broken_number == 0
    return [(each.operator_id, each.action) for each in reversed(answer.records)]


async def refunds(house: House, payment_id: str) -> list[payment_pb2.Refund]:
    request = payment_pb2.ListRefundsRequest(payment_id=payment_id)
    answer = await call(house.payments.ListRefunds, request, house.key)
    return list(answer.refunds)


async def in_suspense(house: House, reference: str) -> int:
    """What the ledger holds of what moved late for this one; negative when it left."""
    balance_minor, page_token = 0, ""
    while True:
        answer = await house.account.ListEntries(
            account_pb2.ListEntriesRequest(
                account_id=SUSPENSE, page_size=1000, page_token=page_token
            ),
            timeout=TIMEOUT_S,
        )
        for entry in answer.entries:
            if entry.reference == reference:
                is_credit = entry.direction == account_pb2.DIRECTION_CREDIT
                balance_minor += (
                    entry.amount.amount_minor if is_credit else -entry.amount.amount_minor
                )
        page_token = answer.next_page_token
        if not page_token:
            return balance_minor


def bill_line(out_ref: str, amount_minor: int, **fields: Any) -> pb.BillLine:
    amount = money_pb2.Money(currency="CNY", amount_minor=amount_minor)
    return pb.BillLine(out_ref=out_ref, amount=amount, provider_ref="p1", **fields)


async def tell_bill(
    house: House, channel: str, days_ago: int, *lines: pb.BillLine
) -> pb.SettleByBillResponse:
    """All that a bill says of what has no item."""
    day = (datetime.now(ZONE) - timedelta(days=days_ago)).date()
    request = pb.SettleByBillRequest(
        channel_id=channel, business_date=day.isoformat(), lines=lines, is_complete=True
    )
    answer: pb.SettleByBillResponse = await call(
        house.operations.SettleByBill, request, house.operator
    )
    return answer
