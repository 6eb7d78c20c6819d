"""The judgement of operations, in three steps, because each needs facts of another place.

1. `assess`: lists and single limits, from the rule book alone. A block entry denies. An allow entry
   (and no block entry) skips the watch list, every limit and every velocity rule.
2. `judge_velocity`: counts of sliding windows. Every attempt counts, also one that is denied.
3. `judge_days`: the totals of the day. Operations that are denied already are not counted and not
   looked at; an operation that a day limit denies does not count either; one that waits for a
   person does, until it is rejected.

The severest verdict wins; each rule that fired says so in one sentence with the figures.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from libs.money import Money
from services.risk.domain import checks
from services.risk.domain.model import (
    DayKey,
    DayLimit,
    DayTotal,
    Evaluation,
    FiredRule,
    Judgement,
    ListEntry,
    ListName,
    Rule,
    RuleBook,
    SingleLimit,
    SubjectKind,
    VelocityKey,
    VelocityLimit,
    Verdict,
)

# Days are those of Asia/Shanghai, which has had one offset and no summer time since 1991.
DAY_ZONE = timezone(timedelta(hours=8), "Asia/Shanghai")
# The same customer id of two merchants is two customers; all other subjects are the same
# everywhere.
MERCHANTS_OWN = frozenset({SubjectKind.CUSTOMER})
# Bank accounts and tokens are shown only by their end.
SHOWN_BY_END = frozenset({SubjectKind.PAYER, SubjectKind.PAYEE})
END_LENGTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A sliding window that an operation counts in, and the rule that bounds it."""

    rule: Rule
    limit: VelocityLimit
    key: VelocityKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day total that an operation would raise, and the rule that bounds it."""

    rule: Rule
    limit: DayLimit
    key: DayKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What is known of an operation so far, and what is still to be asked."""

    evaluation: Evaluation
    fired_rules: tuple[FiredRule, ...]
    windows: tuple[Window, ...]
    days: tuple[Day, ...]

    @property
    def verdict(self) -> Verdict:
        """The severest so far."""
        return severest(self.fired_rules)


def severest(fired_rules: Iterable[FiredRule]) -> Verdict:
    """The verdict of all rules together; ALLOW when none fired."""
    return max((fired.verdict for fired in fired_rules), default=Verdict.ALLOW)


def business_day(now: datetime) -> date:
    """The calendar day of the platform's zone."""
    return now.astimezone(DAY_ZONE).date()


def assess(evaluation: Evaluation, book: RuleBook, now: datetime) -> Assessment:
    """Step 1, and the windows and days that steps 2 and 3 must look at."""
    listed = _entries_about(evaluation, book, now)
    blocked = _fired_list(listed, ListName.BLOCK, checks.BLOCK_LIST_RULE_ID, Verdict.DENY)
    allowed = _fired_list(listed, ListName.ALLOW, checks.ALLOW_LIST_RULE_ID, Verdict.ALLOW)
    if allowed and not blocked:
        return Assessment(evaluation=evaluation, fired_rules=tuple(allowed), windows=(), days=())
    watched = _fired_list(listed, ListName.WATCH, checks.WATCH_LIST_RULE_ID, Verdict.REVIEW)
    fired = blocked + watched
    windows: list[Window] = []
    days: list[Day] = []
    for rule in book.rules:
        if not rule.applies_to(evaluation):
            continue
        match rule.check:
            case SingleLimit() as single:
                fired += _single(rule, single, evaluation)
            case VelocityLimit() as velocity:
                windows += _window(rule, velocity, evaluation)
            case DayLimit() as day:
                days += _day(rule, day, evaluation, business_day(now))
    return Assessment(
        evaluation=evaluation, fired_rules=tuple(fired), windows=tuple(windows), days=tuple(days)
    )


def judge_velocity(assessment: Assessment, counts: Mapping[VelocityKey, int]) -> Assessment:
    """Step 2: counts include this operation."""
    fired = tuple(
        _fired(
            window.rule,
            f"{_subject_name(window.limit.subject, window.key.subject)} made "
            f"{counts[window.key]} operations within {window.limit.window_s} s, "
            f"above the maximum of {window.limit.count_maximum}",
        )
        for window in assessment.windows
        if counts[window.key] > window.limit.count_maximum
    )
    return dataclasses.replace(assessment, fired_rules=assessment.fired_rules + fired)


def judge_velocity_unavailable(assessment: Assessment, fallback: Verdict) -> Assessment:
    """Step 2 when nobody can count: the operator's fallback, ALLOW being silent."""
    if not assessment.windows or fallback is Verdict.ALLOW:
        return assessment
    fired = FiredRule(
        rule_id=checks.VELOCITY_UNAVAILABLE_RULE_ID,
        version=0,
        verdict=fallback,
        detail=f"{len(assessment.windows)} velocity rules could not be judged: no counters",
    )
    return dataclasses.replace(assessment, fired_rules=(*assessment.fired_rules, fired))


def day_additions(assessments: Iterable[Assessment]) -> dict[DayKey, DayTotal]:
    """What the operations would add to each day total, if no day limit denied one of them."""
    additions: dict[DayKey, DayTotal] = {}
    for assessment in assessments:
        if assessment.verdict is not Verdict.DENY:
            _add(additions, assessment)
    return additions


def judge_days(
    assessments: Iterable[Assessment], totals: Mapping[DayKey, DayTotal]
) -> list[Judgement]:
    """Step 3, in order of arrival: each operation sees what those before it added to `totals`."""
    standing = dict(totals)
    return [_judge_day(assessment, standing) for assessment in assessments]


def _judge_day(assessment: Assessment, standing: dict[DayKey, DayTotal]) -> Judgement:
    evaluation, fired = assessment.evaluation, list(assessment.fired_rules)
    if severest(fired) is not Verdict.DENY:
        for day in assessment.days:
            fired += _over_day(day, standing[day.key].plus(evaluation.amount_minor), evaluation)
    verdict = severest(fired)
    held = () if verdict is Verdict.DENY else _add(standing, assessment)
    return Judgement(
        evaluation=evaluation, verdict=verdict, fired_rules=tuple(fired), held_days=held
    )


def _add(totals: dict[DayKey, DayTotal], assessment: Assessment) -> Sequence[DayKey]:
    """Add the operation once to each of its totals, which several rules may share."""
    keys = tuple(sorted({day.key for day in assessment.days}))
    for key in keys:
        totals[key] = totals.get(key, DayTotal()).plus(assessment.evaluation.amount_minor)
    return keys


def _entries_about(evaluation: Evaluation, book: RuleBook, now: datetime) -> list[ListEntry]:
    return [
        entry
        for kind in SubjectKind
        for entry in book.entries.get((kind, evaluation.subject(kind)), ())
        if entry.is_in_force(now) and entry.merchant_id in ("", evaluation.merchant_id)
    ]


def _fired_list(
    entries: Sequence[ListEntry], list_name: ListName, rule_id: str, verdict: Verdict
) -> list[FiredRule]:
    return [
        FiredRule(
            rule_id=rule_id,
            version=0,
            verdict=verdict,
            detail=(
                f"{_subject_name(entry.kind, entry.value)} is on the {list_name.name.lower()} list "
                f"(entry {entry.entry_id})"
            ),
        )
        for entry in entries
        if entry.list_name is list_name
    ]


def _single(rule: Rule, limit: SingleLimit, evaluation: Evaluation) -> list[FiredRule]:
    if evaluation.amount_minor <= limit.amount_maximum_minor:
        return []
    amount = Money(evaluation.currency, evaluation.amount_minor)
    maximum = Money(evaluation.currency, limit.amount_maximum_minor)
    detail = f"{amount} is above the single limit of {maximum}"
    return [_fired(rule, detail)]


def _window(rule: Rule, limit: VelocityLimit, evaluation: Evaluation) -> list[Window]:
    subject = evaluation.subject(limit.subject)
    if not subject:
        return []
    key = VelocityKey(
        rule.rule_id, limit.subject, _merchant_scope(rule, limit.subject, evaluation), subject
    )
    return [Window(rule=rule, limit=limit, key=key)]


def _day(rule: Rule, limit: DayLimit, evaluation: Evaluation, today: date) -> list[Day]:
    subject = evaluation.subject(limit.subject)
    if not subject:
        return []
    key = DayKey(
        today,
        _merchant_scope(rule, limit.subject, evaluation),
        rule.operation or 0,
        limit.subject,
        subject,
        rule.currency,
    )
    return [Day(rule=rule, limit=limit, key=key)]


def _merchant_scope(rule: Rule, kind: SubjectKind, evaluation: Evaluation) -> str:
    return evaluation.merchant_id if kind in MERCHANTS_OWN else rule.merchant_id


def _over_day(day: Day, total: DayTotal, evaluation: Evaluation) -> list[FiredRule]:
    limit = day.limit
    reasons = []
    if limit.amount_maximum_minor and total.amount_minor > limit.amount_maximum_minor:
        reached = Money(evaluation.currency, total.amount_minor)
        maximum = Money(evaluation.currency, limit.amount_maximum_minor)
        reasons.append(f"{reached}, above the maximum of {maximum}")
    if limit.count_maximum and total.count > limit.count_maximum:
        reasons.append(f"{total.count} operations, above the maximum of {limit.count_maximum}")
    if not reasons:
        return []
    subject = _subject_name(limit.subject, day.key.subject)
    detail = f"{subject} would reach on {day.key.day}: {'; '.join(reasons)}"
    return [_fired(day.rule, detail)]


def _fired(rule: Rule, detail: str) -> FiredRule:
    return FiredRule(
        rule_id=rule.rule_id, version=rule.version, verdict=rule.verdict, detail=detail
    )


def _subject_name(kind: SubjectKind, value: str) -> str:
    shown = f"…{value[-END_LENGTH:]}" if kind in SHOWN_BY_END else value
    return f"{kind.name.lower()} {shown}"
