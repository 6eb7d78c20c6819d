"""The judgement of operations over given facts."""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import hypothesis
from hypothesis import strategies as st

from services.risk.domain import judgement
from services.risk.domain.model import (
    DayLimit,
    DayTotal,
    Evaluation,
    Judgement,
    ListEntry,
    ListName,
    Operation,
    Rule,
    RuleBook,
    SingleLimit,
    SubjectKind,
    VelocityLimit,
    Verdict,
)

NOW = datetime(2025, 3, 4, 4, 0, tzinfo=UTC)
PAYMENT = Evaluation(
    evaluation_id="eval_1",
    merchant_id="m-1",
    operation=Operation.PAYMENT,
    currency="CNY",
    amount_minor=5_000,
    method=1,
    customer_id="c-1",
    ip="203.0.113.9",
    payer_token="token-abcd",
)
SINGLE = SingleLimit(amount_maximum_minor=5_000)
DAY = DayLimit(subject=SubjectKind.CUSTOMER, amount_maximum_minor=10_000, count_maximum=0)
VELOCITY = VelocityLimit(subject=SubjectKind.IP, window_s=60, count_maximum=2)


def rule(check: SingleLimit | DayLimit | VelocityLimit, **changes: object) -> Rule:
    base = Rule(
        rule_id="rule-1",
        version=3,
        merchant_id="",
        operation=None,
        currency="CNY",
        verdict=Verdict.DENY,
        enabled=True,
        check=check,
        description="",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # test shorthand


def entry(list_name: ListName, kind: SubjectKind, value: str, **changes: object) -> ListEntry:
    base = ListEntry(
        entry_id="entry_1",
        list_name=list_name,
        kind=kind,
        value=value,
        merchant_id="",
        note="",
        expires_at=None,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # test shorthand


def book(*items: Rule | ListEntry) -> RuleBook:
    entries = defaultdict(list)
    for item in items:
        if isinstance(item, ListEntry):
            entries[item.kind, item.value].append(item)
    rules = tuple(item for item in items if isinstance(item, Rule))
    return RuleBook(revision=1, rules=rules, entries=entries)


def judge_days(rules: RuleBook, evaluations: Sequence[Evaluation]) -> list[Judgement]:
    assessments = [judgement.assess(item, rules, NOW) for item in evaluations]
    before = {key: DayTotal() for key in judgement.day_additions(assessments)}
    return judgement.judge_days(assessments, before)


def test_nothing_fires_without_rules_and_the_verdict_is_allow() -> None:
    assessment = judgement.assess(PAYMENT, book(), NOW)
    assert (assessment.verdict, assessment.fired_rules) == (Verdict.ALLOW, ())


def test_a_single_limit_fires_above_its_amount_and_says_both_figures() -> None:
    over = dataclasses.replace(PAYMENT, amount_minor=5_001)
    assert judgement.assess(PAYMENT, book(rule(SINGLE)), NOW).fired_rules == ()
    (fired,) = judgement.assess(over, book(rule(SINGLE)), NOW).fired_rules
    assert (fired.rule_id, fired.version, fired.verdict) == ("rule-1", 3, Verdict.DENY)
    assert fired.detail == "50.01 CNY is above the single limit of 50.00 CNY"


def test_a_rule_of_another_merchant_operation_or_currency_does_not_apply() -> None:
    tight = SingleLimit(amount_maximum_minor=1)
    for changes in ({"merchant_id": "m-2"}, {"operation": Operation.PAYOUT}, {"currency": "USD"}):
        assert judgement.assess(PAYMENT, book(rule(tight, **changes)), NOW).fired_rules == ()


def test_a_block_entry_wins_over_an_allow_entry() -> None:
    both = book(
        entry(ListName.ALLOW, SubjectKind.CUSTOMER, "c-1"),
        entry(ListName.BLOCK, SubjectKind.IP, "203.0.113.9"),
    )
    assessment = judgement.assess(PAYMENT, both, NOW)
    assert assessment.verdict is Verdict.DENY
    assert "203.0.113.9 is on the block list" in assessment.fired_rules[0].detail


def test_an_allow_entry_skips_limits_velocity_and_the_watch_list() -> None:
    rules = book(
        entry(ListName.ALLOW, SubjectKind.CUSTOMER, "c-1"),
        entry(ListName.WATCH, SubjectKind.IP, "203.0.113.9"),
        rule(SingleLimit(amount_maximum_minor=1)),
        rule(DAY),
        rule(VELOCITY),
    )
    assessment = judgement.assess(PAYMENT, rules, NOW)
    assert assessment.verdict is Verdict.ALLOW
    assert [fired.rule_id for fired in assessment.fired_rules] == ["allow-list"]
    assert (assessment.windows, assessment.days) == ((), ())


def test_an_expired_entry_or_one_of_another_merchant_is_not_in_force() -> None:
    expired = entry(ListName.BLOCK, SubjectKind.CUSTOMER, "c-1", expires_at=NOW)
    foreign = entry(ListName.BLOCK, SubjectKind.CUSTOMER, "c-1", merchant_id="m-2")
    assert judgement.assess(PAYMENT, book(expired, foreign), NOW).fired_rules == ()
    before_its_end = NOW - timedelta(microseconds=1)
    assert judgement.assess(PAYMENT, book(expired), before_its_end).verdict is Verdict.DENY


def test_the_severest_verdict_wins_and_every_fired_rule_is_named() -> None:
    rules = book(
        entry(ListName.WATCH, SubjectKind.CUSTOMER, "c-1"),
        rule(SingleLimit(amount_maximum_minor=1), rule_id="deny-it"),
        rule(SingleLimit(amount_maximum_minor=2), rule_id="review-it", verdict=Verdict.REVIEW),
    )
    assessment = judgement.assess(PAYMENT, rules, NOW)
    assert assessment.verdict is Verdict.DENY
    fired = {fired.rule_id: fired.verdict for fired in assessment.fired_rules}
    assert fired == {
        "watch-list": Verdict.REVIEW,
        "deny-it": Verdict.DENY,
        "review-it": Verdict.REVIEW,
    }


def test_velocity_fires_above_its_maximum_only() -> None:
    assessment = judgement.assess(PAYMENT, book(rule(VELOCITY)), NOW)
    (window,) = assessment.windows
    assert judgement.judge_velocity(assessment, {window.key: 2}).fired_rules == ()
    (fired,) = judgement.judge_velocity(assessment, {window.key: 3}).fired_rules
    assert fired.detail == "ip 203.0.113.9 made 3 operations within 60 s, above the maximum of 2"


def test_velocity_that_nobody_can_count_falls_back_as_configured() -> None:
    assessment = judgement.assess(PAYMENT, book(rule(VELOCITY)), NOW)
    verdicts = {
        fallback: judgement.judge_velocity_unavailable(assessment, fallback).verdict
        for fallback in Verdict
    }
    assert verdicts == {verdict: verdict for verdict in Verdict}
    unaffected = judgement.assess(PAYMENT, book(), NOW)
    judged = judgement.judge_velocity_unavailable(unaffected, Verdict.DENY)
    assert judged.verdict is Verdict.ALLOW


def test_the_same_customer_id_of_two_merchants_has_two_counters_but_one_ip_has_one() -> None:
    other = dataclasses.replace(PAYMENT, merchant_id="m-2")

    def keys(kind: SubjectKind) -> set[object]:
        rules = book(rule(dataclasses.replace(VELOCITY, subject=kind)))
        return {
            window.key
            for item in (PAYMENT, other)
            for window in judgement.assess(item, rules, NOW).windows
        }

    assert len(keys(SubjectKind.CUSTOMER)) == 2
    assert len(keys(SubjectKind.IP)) == 1


def test_an_unknown_subject_is_not_counted() -> None:
    anonymous = dataclasses.replace(PAYMENT, customer_id="", ip="")
    assessment = judgement.assess(anonymous, book(rule(DAY), rule(VELOCITY)), NOW)
    assert (assessment.days, assessment.windows) == ((), ())


def test_the_day_begins_at_midnight_in_shanghai() -> None:
    last_of_the_day = datetime(2025, 3, 4, 15, 59, 59, tzinfo=UTC)
    assert judgement.business_day(last_of_the_day) == date(2025, 3, 4)
    assert judgement.business_day(last_of_the_day + timedelta(seconds=1)) == date(2025, 3, 5)


def test_a_batch_sees_its_own_items_in_the_order_of_arrival() -> None:
    items = [
        dataclasses.replace(PAYMENT, evaluation_id=f"eval_{n}", amount_minor=amount)
        for n, amount in enumerate((6_000, 5_000, 4_000))
    ]
    judged = judge_days(book(rule(DAY)), items)
    assert [item.verdict for item in judged] == [Verdict.ALLOW, Verdict.DENY, Verdict.ALLOW]
    assert judged[1].fired_rules[0].detail == (
        "customer c-1 would reach on 2025-03-04: 110.00 CNY, above the maximum of 100.00 CNY"
    )


def test_a_day_count_fires_and_both_bounds_are_told() -> None:
    both = DayLimit(subject=SubjectKind.PAYER, amount_maximum_minor=5_000, count_maximum=1)
    _, second = judge_days(book(rule(both, verdict=Verdict.REVIEW)), [PAYMENT, PAYMENT])
    assert second.verdict is Verdict.REVIEW
    assert second.fired_rules[0].detail == (
        "payer …abcd would reach on 2025-03-04: 100.00 CNY, above the maximum of 50.00 CNY; "
        "2 operations, above the maximum of 1"
    )


def test_two_rules_with_one_scope_share_a_total_that_grows_once() -> None:
    review = rule(
        dataclasses.replace(DAY, amount_maximum_minor=1), rule_id="low", verdict=Verdict.REVIEW
    )
    assessment = judgement.assess(PAYMENT, book(rule(DAY), review), NOW)
    assert list(judgement.day_additions([assessment]).values()) == [DayTotal(5_000, 1)]


def test_what_is_denied_already_neither_counts_in_the_day_nor_asks_for_it() -> None:
    rules = book(rule(DAY), entry(ListName.BLOCK, SubjectKind.CUSTOMER, "c-1"))
    assessment = judgement.assess(PAYMENT, rules, NOW)
    assert judgement.day_additions([assessment]) == {}
    (judged,) = judgement.judge_days([assessment], {})
    assert (judged.verdict, judged.held_days) == (Verdict.DENY, ())


@hypothesis.given(
    amounts=st.lists(st.integers(1, 9_000), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    maximum_minor=st.integers(1, 20_000),
)
def test_a_denying_day_limit_is_never_passed_however_operations_are_batched(
    amounts: list[int], cuts: list[int], maximum_minor: int
) -> None:
    rules = book(rule(dataclasses.replace(DAY, amount_maximum_minor=maximum_minor)))
    items = [
        dataclasses.replace(PAYMENT, evaluation_id=f"eval_{n}", amount_minor=amount)
        for n, amount in enumerate(amounts)
    ]
    borders = sorted({0, len(items), *(cut for cut in cuts if cut < len(items))})
    total = DayTotal()
    verdicts: list[Verdict] = []
    for begin, end in itertools.pairwise(borders):
        assessments = [judgement.assess(item, rules, NOW) for item in items[begin:end]]
        before = dict.fromkeys(judgement.day_additions(assessments), total)
        for judged in judgement.judge_days(assessments, before):
            verdicts.append(judged.verdict)
            if judged.held_days:
                total = total.plus(judged.evaluation.amount_minor)
    assert total.amount_minor <= maximum_minor
    one_batch = [judged.verdict for judged in judge_days(rules, items)]
    assert verdicts == one_batch
