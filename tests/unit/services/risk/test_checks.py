"""What risk refuses, and how subjects are spelled."""

import dataclasses
from datetime import UTC, datetime

import pytest

from fisc.common.v1 import method_pb2
from fisc.risk.v1 import risk_pb2
from libs.errors import FiscError
from services.risk.domain import checks
from services.risk.domain.model import (
    CaseState,
    DayLimit,
    Evaluation,
    ListEntry,
    ListName,
    Operation,
    Rule,
    SingleLimit,
    SubjectKind,
    Verdict,
)

NOW = datetime(2025, 3, 4, tzinfo=UTC)
PAYMENT = Evaluation(
    evaluation_id="eval_1",
    merchant_id="m-1",
    operation=Operation.PAYMENT,
    currency="CNY",
    amount_minor=1,
    method=1,
)
RULE = Rule(
    rule_id="single-50k",
    version=0,
    merchant_id="",
    operation=None,
    currency="CNY",
    verdict=Verdict.DENY,
    enabled=True,
    check=SingleLimit(amount_maximum_minor=1),
    description="",
)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"currency": "XYZ"}, "UNKNOWN_CURRENCY", "amount.currency"),
        ({"method": 0}, "METHOD_REQUIRED", "method"),
        ({"ip": "300.1.1.1"}, "BAD_IP_ADDRESS", "ip"),
        ({"country": "C1"}, "BAD_COUNTRY", "country"),
        ({"device_id": "a\0b"}, "BAD_TEXT", "device_id"),
    ],
)
def test_a_bad_evaluation_is_refused_with_reason_and_field(
    changes: dict[str, object], reason: str, field: str
) -> None:
    with pytest.raises(FiscError) as caught:
        checks.checked_evaluation(dataclasses.replace(PAYMENT, **changes))  # type: ignore[arg-type]  # test shorthand
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_a_payout_needs_no_method() -> None:
    payout = dataclasses.replace(PAYMENT, operation=Operation.PAYOUT, method=0)
    assert checks.checked_evaluation(payout) == payout


@pytest.mark.parametrize(
    ("kind", "written", "kept"),
    [
        (SubjectKind.IP, "2001:0DB8:0:0::1", "2001:db8::1"),
        (SubjectKind.IP, "::ffff:203.0.113.9", "203.0.113.9"),
        (SubjectKind.COUNTRY, "cn", "CN"),
        (SubjectKind.CUSTOMER, "c-1", "c-1"),
    ],
)
def test_a_subject_has_one_spelling_on_lists_and_in_evaluations(
    kind: SubjectKind, written: str, kept: str
) -> None:
    entry = ListEntry(
        entry_id="",
        list_name=ListName.BLOCK,
        kind=kind,
        value=written,
        merchant_id="",
        note="",
        expires_at=None,
    )
    evaluation = dataclasses.replace(
        PAYMENT,
        ip=written if kind is SubjectKind.IP else "",
        country=written if kind is SubjectKind.COUNTRY else "",
        customer_id=written if kind is SubjectKind.CUSTOMER else "",
    )
    assert checks.checked_entry(entry, NOW).value == kept
    assert checks.checked_evaluation(evaluation).subject(kind) == kept


@pytest.mark.parametrize(
    ("rule", "reason", "field"),
    [
        (dataclasses.replace(RULE, rule_id="block-list"), "RULE_ID_RESERVED", "rule.rule_id"),
        (dataclasses.replace(RULE, currency="ABC"), "UNKNOWN_CURRENCY", "rule.currency"),
        (dataclasses.replace(RULE, currency=""), "CURRENCY_REQUIRED", "rule.currency"),
        (
            dataclasses.replace(
                RULE,
                check=DayLimit(subject=SubjectKind.IP, amount_maximum_minor=0, count_maximum=0),
            ),
            "BOUND_REQUIRED",
            "rule.day_limit",
        ),
    ],
)
def test_a_rule_that_cannot_be_judged_is_refused(rule: Rule, reason: str, field: str) -> None:
    with pytest.raises(FiscError) as caught:
        checks.checked_rule(rule)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_the_numbers_of_our_enums_are_those_of_the_contract() -> None:
    pairs = [
        (Verdict, risk_pb2.Verdict, "VERDICT_"),
        (SubjectKind, risk_pb2.SubjectKind, "SUBJECT_KIND_"),
        (ListName, risk_pb2.ListName, "LIST_NAME_"),
        (CaseState, risk_pb2.Case.State, "STATE_"),
        (Operation, method_pb2.Operation, "OPERATION_"),
    ]
    for ours, theirs, prefix in pairs:
        contract = {name.removeprefix(prefix): number for name, number in theirs.items() if number}
        assert {member.name: member.value for member in ours} == contract
