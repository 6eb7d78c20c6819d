"""Royalties (分账): who may receive a share of our trades, and dividing a paid trade among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from services.gateway.channels import answers
from services.gateway.channels.alipay import classify, values
from services.gateway.channels.alipay.messages import Content
from services.gateway.channels.answers import Malformed
from services.gateway.domain.channel import Outcome, OutcomeKind

BIND: Final = "alipay.trade.royalty.relation.bind"
UNBIND: Final = "alipay.trade.royalty.relation.unbind"
SETTLE: Final = "alipay.trade.order.settle"
QUERY_SETTLE: Final = "alipay.trade.order.settle.query"

RECEIVERS_A_CALL_MAX: Final = 20
PARTS_A_SETTLEMENT_MAX: Final = 5
NAME_LENGTH_MAX: Final = 64
_TRANSFER: Final = "transfer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Somebody who may receive a share. `name` is checked by Alipay for a login name."""

    kind: Literal["userId", "loginName"]
    account: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one receiver gets of a trade."""

    receiver: Receiver
    amount_minor: int
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOrder:
    """Divide a paid trade. `out_ref` is the division's own number and makes the call idempotent.

    `is_final` gives the rest of the frozen money to the merchant.
    """

    out_ref: str
    trade_no: str
    parts: Sequence[Part]
    is_final: bool


def relation_content(out_ref: str, receivers: Sequence[Receiver]) -> Content:
    """Receivers to bind or to unbind."""
    return {
        "out_request_no": out_ref,
        "receiver_list": [
            {"type": receiver.kind, "account": receiver.account}
            | ({"name": receiver.name[:NAME_LENGTH_MAX]} if receiver.name else {})
            for receiver in receivers
        ],
    }


def settle_content(order: SplitOrder) -> Content:
    """A division in one transaction: every receiver gets their part, or none does."""
    return {
        "out_request_no": order.out_ref,
        "trade_no": order.trade_no,
        "royalty_mode": "sync",
        "royalty_parameters": [
            {
                "royalty_type": _TRANSFER,
                "trans_in_type": part.receiver.kind,
                "trans_in": part.receiver.account,
                "amount": values.yuan(part.amount_minor),
                "desc": part.description,
            }
            for part in order.parts
        ],
        "extend_params": {"royalty_finish": "true" if order.is_final else "false"},
    }


def settle_key(out_ref: str, trade_no: str) -> Content:
    """Which division is asked for."""
    return {"out_request_no": out_ref, "trade_no": trade_no}


def related(fields: Mapping[str, object]) -> Outcome:
    """Whether the relations stand as was asked. Raises Malformed."""
    result = answers.text(fields, "result_code")
    kind = OutcomeKind.SUCCEEDED if result == "SUCCESS" else OutcomeKind.UNKNOWN
    return Outcome(kind=kind, code=result)


def settled(fields: Mapping[str, object]) -> Outcome:
    """A division that was accepted and, being synchronous, done."""
    return Outcome(
        kind=OutcomeKind.SUCCEEDED,
        provider_ref=answers.optional_text(fields, "settle_no"),
        code=classify.DONE,
    )


def settlement(fields: Mapping[str, object]) -> Outcome:
    """A division as its query shows it: as far as the part that has come least far. Raises Malformed."""
    details = fields.get("royalty_detail_list")
    if not isinstance(details, list) or not details:
        return Outcome(kind=OutcomeKind.NOT_FOUND, code="ROYALTY_NOT_EXIST")
    total, codes, kinds = 0, [], set()
    for detail in details:
        if not isinstance(detail, dict):
            raise Malformed("a part is not an object", field="royalty_detail_list")
        total += values.amount(detail, "amount")
        kinds.add(classify.split_state(answers.text(detail, "state")))
        codes.append(answers.optional_text(detail, "error_code"))
    return Outcome(
        kind=_least(kinds),
        code=next((code for code in codes if code), classify.DONE),
        paid_at=values.optional_instant(fields, "operation_dt"),
        amount_minor=total,
        currency=values.CURRENCY,
    )


def _least(kinds: set[OutcomeKind]) -> OutcomeKind:
    """One kind for all parts; parts that ended apart are for people to look at."""
    if OutcomeKind.PENDING in kinds:
        return OutcomeKind.PENDING
    return kinds.pop() if len(kinds) == 1 else OutcomeKind.UNKNOWN
