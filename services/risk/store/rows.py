"""Rows ↔ domain types."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncpg import Record

from services.risk.domain.model import (
    Case,
    CaseState,
    Check,
    DayLimit,
    Decision,
    Evaluation,
    FiredRule,
    Judgement,
    ListEntry,
    ListName,
    Operation,
    Rule,
    SingleLimit,
    SubjectKind,
    VelocityLimit,
    Verdict,
)

CONTEXT_FIELDS = (
    "method",
    "customer_id",
    "ip",
    "country",
    "device_id",
    "payer_token",
    "payee_account",
    "subject_id",
)


DECISION_COLUMNS = (
    "evaluation_id",
    "merchant_id",
    "operation",
    "currency",
    "amount_minor",
    "context",
    "verdict",
    "fired_rules",
    "case_id",
    "decided_at",
    "held_day_total_ids",
)


def decision_record(
    judgement: Judgement, case_id: str, decided_at: datetime, held_day_total_ids: Sequence[int]
) -> tuple[Any, ...]:
    """A judgement in the order of DECISION_COLUMNS."""
    evaluation = judgement.evaluation
    fired_rules = [
        {
            "rule_id": fired.rule_id,
            "version": fired.version,
            "verdict": fired.verdict,
            "detail": fired.detail,
        }
        for fired in judgement.fired_rules
    ]
    return (
        evaluation.evaluation_id,
        evaluation.merchant_id,
        evaluation.operation,
        evaluation.currency,
        evaluation.amount_minor,
        # What is unknown is not written: nearly all of it, nearly always.
        {name: value for name in CONTEXT_FIELDS if (value := getattr(evaluation, name))},
        judgement.verdict,
        fired_rules,
        case_id,
        decided_at,
        held_day_total_ids,
    )


def evaluation_of(row: Record) -> Evaluation:
    """What was judged, out of a decision row."""
    return Evaluation(
        evaluation_id=row["evaluation_id"],
        merchant_id=row["merchant_id"],
        operation=Operation(row["operation"]),
        currency=row["currency"],
        amount_minor=row["amount_minor"],
        **row["context"],
    )


def decision_of(row: Record) -> Decision:
    """The decision of a decision row."""
    return Decision(
        evaluation_id=row["evaluation_id"],
        verdict=Verdict(row["verdict"]),
        fired_rules=_fired_rules(row),
        case_id=row["case_id"],
        decided_at=row["decided_at"],
    )


def case_of(row: Record) -> Case:
    """A case, out of a risk_case row joined with its decision."""
    return Case(
        case_id=row["case_id"],
        evaluation=evaluation_of(row),
        fired_rules=_fired_rules(row),
        state=CaseState(row["state"]),
        decided_by=row["decided_by"],
        note=row["note"],
        opened_at=row["opened_at"],
        decided_at=row["decided_at"],
    )


def rule_of(row: Record) -> Rule:
    """One version of a rule."""
    return Rule(
        rule_id=row["rule_id"],
        version=row["version"],
        merchant_id=row["merchant_id"],
        operation=Operation(row["operation"]) if row["operation"] else None,
        currency=row["currency"],
        verdict=Verdict(row["verdict"]),
        enabled=row["enabled"],
        check=_check(row),
        description=row["description"],
    )


def check_columns(check: Check) -> tuple[str, int | None, int | None, int | None, int | None]:
    """check_kind, subject_kind, amount_maximum_minor, count_maximum, window_s."""
    match check:
        case SingleLimit():
            return "single", None, check.amount_maximum_minor, None, None
        case DayLimit():
            return "day", check.subject, check.amount_maximum_minor, check.count_maximum, None
        case VelocityLimit():
            return "velocity", check.subject, None, check.count_maximum, check.window_s


def entry_of(row: Record) -> ListEntry:
    """A list entry."""
    return ListEntry(
        entry_id=row["entry_id"],
        list_name=ListName(row["list_name"]),
        kind=SubjectKind(row["kind"]),
        value=row["value"],
        merchant_id=row["merchant_id"],
        note=row["note"],
        expires_at=row["expires_at"],
    )


def _check(row: Record) -> Check:
    match row["check_kind"]:
        case "single":
            return SingleLimit(amount_maximum_minor=row["amount_maximum_minor"])
        case "day":
            return DayLimit(
                subject=SubjectKind(row["subject_kind"]),
                amount_maximum_minor=row["amount_maximum_minor"],
                count_maximum=row["count_maximum"],
            )
        case _:
            return VelocityLimit(
                subject=SubjectKind(row["subject_kind"]),
                window_s=row["window_s"],
                count_maximum=row["count_maximum"],
            )


def _fired_rules(row: Record) -> tuple[FiredRule, ...]:
    return tuple(
        FiredRule(
            rule_id=fired["rule_id"],
            version=fired["version"],
            verdict=Verdict(fired["verdict"]),
            detail=fired["detail"],
        )
        for fired in row["fired_rules"]
    )
