"""Messages ↔ domain types. Enum numbers are the same on both sides."""

import enum
from datetime import datetime
from typing import TypeVar

from google.protobuf import timestamp_pb2

from fisc.common.v1 import method_pb2, money_pb2
from fisc.risk.v1 import risk_pb2
from libs.errors import FiscError, InvalidArgument
from libs.rpc import convert
from services.risk.domain.model import (
    Case,
    Check,
    DayLimit,
    Decision,
    Evaluation,
    FiredRule,
    ListEntry,
    ListName,
    Operation,
    Rule,
    SingleLimit,
    SubjectKind,
    VelocityLimit,
    Verdict,
)

E = TypeVar("E", bound=enum.IntEnum)


def optional_enum(kind: type[E], number: int, *, field: str) -> E | None:
    """The member of that number, None for 0.

    Raises InvalidArgument: the contract leaves optional enums open.
    """
    if not number:
        return None
    try:
        return kind(number)
    except ValueError:
        raise InvalidArgument(f"{number} is not a known value", field=field) from None


def evaluation_from_proto(message: risk_pb2.Evaluation) -> Evaluation:
    """An evaluation as asked for; the contract's rules hold for it."""
    return Evaluation(
        evaluation_id=message.evaluation_id,
        merchant_id=message.merchant_id,
        operation=Operation(message.operation),
        currency=message.amount.currency,
        amount_minor=message.amount.amount_minor,
        method=message.method,
        customer_id=message.customer_id,
        ip=message.ip,
        country=message.country,
        device_id=message.device_id,
        payer_token=message.payer_token,
        payee_account=message.payee_account,
        subject_id=message.subject_id,
    )


def evaluation_to_proto(evaluation: Evaluation) -> risk_pb2.Evaluation:
    """An evaluation as it was judged."""
    return risk_pb2.Evaluation(
        evaluation_id=evaluation.evaluation_id,
        merchant_id=evaluation.merchant_id,
        operation=method_pb2.Operation.ValueType(evaluation.operation),
        amount=money_pb2.Money(currency=evaluation.currency, amount_minor=evaluation.amount_minor),
        method=method_pb2.PaymentMethod.ValueType(evaluation.method),
        customer_id=evaluation.customer_id,
        ip=evaluation.ip,
        country=evaluation.country,
        device_id=evaluation.device_id,
        payer_token=evaluation.payer_token,
        payee_account=evaluation.payee_account,
        subject_id=evaluation.subject_id,
    )


def decision_to_proto(decision: Decision) -> risk_pb2.Decision:
    """A decision."""
    return risk_pb2.Decision(
        evaluation_id=decision.evaluation_id,
        verdict=risk_pb2.Verdict.ValueType(decision.verdict),
        fired_rules=[_fired_rule(fired) for fired in decision.fired_rules],
        case_id=decision.case_id,
        decided_at=convert.to_timestamp(decision.decided_at),
    )


def result_to_proto(result: Decision | FiscError) -> risk_pb2.EvaluateResult:
    """One item of a batch answer."""
    if isinstance(result, FiscError):
        return risk_pb2.EvaluateResult(error=convert.error_to_item(result))
    return risk_pb2.EvaluateResult(decision=decision_to_proto(result))


def rule_from_proto(message: risk_pb2.Rule) -> Rule:
    """A rule as asked for."""
    return Rule(
        rule_id=message.rule_id,
        version=0,
        merchant_id=message.merchant_id,
        operation=optional_enum(Operation, message.operation, field="rule.operation"),
        currency=message.currency,
        verdict=Verdict(message.verdict),
        enabled=message.enabled,
        check=_check_from_proto(message),
        description=message.description,
    )


def rule_to_proto(rule: Rule) -> risk_pb2.Rule:
    """A stored rule."""
    message = risk_pb2.Rule(
        rule_id=rule.rule_id,
        version=rule.version,
        merchant_id=rule.merchant_id,
        operation=method_pb2.Operation.ValueType(rule.operation or 0),
        currency=rule.currency,
        verdict=risk_pb2.Verdict.ValueType(rule.verdict),
        enabled=rule.enabled,
        description=rule.description,
    )
    check = rule.check
    match check:
        case SingleLimit():
            message.single_limit.amount_maximum_minor = check.amount_maximum_minor
        case DayLimit():
            message.day_limit.subject = risk_pb2.SubjectKind.ValueType(check.subject)
            message.day_limit.amount_maximum_minor = check.amount_maximum_minor
            message.day_limit.count_maximum = check.count_maximum
        case VelocityLimit():
            message.velocity_limit.subject = risk_pb2.SubjectKind.ValueType(check.subject)
            message.velocity_limit.window_s = check.window_s
            message.velocity_limit.count_maximum = check.count_maximum
    return message


def entry_from_proto(message: risk_pb2.ListEntry) -> ListEntry:
    """A list entry as asked for."""
    return ListEntry(
        entry_id="",
        list_name=ListName(message.list),
        kind=SubjectKind(message.kind),
        value=message.value,
        merchant_id=message.merchant_id,
        note=message.note,
        expires_at=_end(message.expires_at) if message.HasField("expires_at") else None,
    )


def entry_to_proto(entry: ListEntry) -> risk_pb2.ListEntry:
    """A stored list entry."""
    return risk_pb2.ListEntry(
        entry_id=entry.entry_id,
        list=risk_pb2.ListName.ValueType(entry.list_name),
        kind=risk_pb2.SubjectKind.ValueType(entry.kind),
        value=entry.value,
        merchant_id=entry.merchant_id,
        note=entry.note,
        expires_at=convert.to_timestamp(entry.expires_at) if entry.expires_at else None,
    )


def case_to_proto(case: Case) -> risk_pb2.Case:
    """A case."""
    return risk_pb2.Case(
        case_id=case.case_id,
        evaluation=evaluation_to_proto(case.evaluation),
        fired_rules=[_fired_rule(fired) for fired in case.fired_rules],
        state=risk_pb2.Case.State.ValueType(case.state),
        decided_by=case.decided_by,
        note=case.note,
        opened_at=convert.to_timestamp(case.opened_at),
        decided_at=convert.to_timestamp(case.decided_at) if case.decided_at else None,
    )


def case_payload(case: Case) -> bytes:
    """A case as the payload of its events."""
    return case_to_proto(case).SerializeToString()


def _fired_rule(fired: FiredRule) -> risk_pb2.FiredRule:
    return risk_pb2.FiredRule(
        rule_id=fired.rule_id,
        version=fired.version,
        verdict=risk_pb2.Verdict.ValueType(fired.verdict),
        detail=fired.detail,
    )


def _check_from_proto(message: risk_pb2.Rule) -> Check:
    match message.WhichOneof("check"):
        case "single_limit":
            return SingleLimit(amount_maximum_minor=message.single_limit.amount_maximum_minor)
        case "day_limit":
            day = message.day_limit
            return DayLimit(
                subject=SubjectKind(day.subject),
                amount_maximum_minor=day.amount_maximum_minor,
                count_maximum=day.count_maximum,
            )
        case _:
            velocity = message.velocity_limit
            return VelocityLimit(
                subject=SubjectKind(velocity.subject),
                window_s=velocity.window_s,
                count_maximum=velocity.count_maximum,
            )


def _end(timestamp: timestamp_pb2.Timestamp) -> datetime:
    try:
        return convert.from_timestamp(timestamp)
    except OverflowError:
        raise InvalidArgument("no such time", field="entry.expires_at") from None
