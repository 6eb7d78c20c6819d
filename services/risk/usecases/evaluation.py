"""The hot path: judge operations in batches, and learn how they ended.

A batch costs one read of decisions, one Redis pipeline and one transaction with a few set-based
statements.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from prometheus_client import Counter

from libs import log
from libs.clock import Clock
from libs.errors import FiscError
from libs.ids import IdSource
from services.risk.domain import checks, errors, judgement
from services.risk.domain.judgement import Assessment
from services.risk.domain.model import (
    Case,
    CaseState,
    DayKey,
    DayTotal,
    Decision,
    Evaluation,
    Judgement,
    Outcome,
    VelocityKey,
    Verdict,
)
from services.risk.store import rows
from services.risk.store.database import HeldDay, RecordedDecision, Store, Transaction
from services.risk.usecases.book import CurrentBook
from services.risk.usecases.events import CaseEvents

# Each attempt loses only to somebody who recorded one of the same evaluations meanwhile.
RECORD_ATTEMPTS_MAX: Final = 4

decisions_total: Final = Counter("risk_decisions_total", "Decisions recorded.", ("verdict",))
velocity_unavailable_total: Final = Counter(
    "risk_velocity_unavailable_total",
    "Evaluations whose velocity rules could not be judged and fell back.",
)

_log = log.get_logger()


class VelocityCounters(Protocol):
    """Sliding-window counters outside the database."""

    async def count(
        self, assessments: Sequence[Assessment], now: datetime
    ) -> list[dict[VelocityKey, int]]:
        """Count each operation once in each of its windows; raises CountersUnavailable, soon."""
        ...


class Evaluations:
    """Judges operations."""

    def __init__(
        self,
        *,
        store: Store,
        book: CurrentBook,
        counters: VelocityCounters,
        velocity_fallback: Verdict,
        events: CaseEvents,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        """`velocity_fallback` is the verdict on operations whose velocity nobody can count."""
        self._store = store
        self._book = book
        self._counters = counters
        self._velocity_fallback = velocity_fallback
        self._events = events
        self._clock = clock
        self._ids = ids

    async def evaluate(self, evaluations: Sequence[Evaluation]) -> list[Decision | FiscError]:
        """A decision or a refusal for each, in order; each sees those before it.

        Idempotent by evaluation_id: what was decided is returned as recorded, and counts once.
        """
        checked = [_checked(evaluation) for evaluation in evaluations]
        wanted: dict[str, Evaluation] = {}
        for item in checked:
            if isinstance(item, Evaluation):
                wanted.setdefault(item.evaluation_id, item)
        known = await self._store.decisions(list(wanted))
        fresh = [item for item in wanted.values() if item.evaluation_id not in known]
        if fresh:
            known.update(await self._judge(fresh))
        return [_answer(item, known) for item in checked]

    async def record_outcomes(self, outcomes: Iterable[Outcome]) -> int:
        """Learn how operations ended; what failed gives its day amounts back. Returns how many were
        new.

        The first outcome of an evaluation stands. Unknown evaluations are not counted.
        """
        first: dict[str, Outcome] = {}
        for outcome in outcomes:
            first.setdefault(outcome.evaluation_id, outcome)
        async with self._store.transaction() as transaction:
            return await transaction.record_outcomes(first)

    async def _judge(self, evaluations: Sequence[Evaluation]) -> dict[str, RecordedDecision]:
        now = self._clock.now()
        book = self._book.book
        assessments = [judgement.assess(evaluation, book, now) for evaluation in evaluations]
        assessments = await self._with_velocity(assessments, now)
        known: dict[str, RecordedDecision] = {}
        for _ in range(RECORD_ATTEMPTS_MAX):
            try:
                return known | await self._record(assessments, now)
            except errors.DecisionContended:
                ids = [assessment.evaluation.evaluation_id for assessment in assessments]
                known |= await self._store.decisions(ids)
                assessments = [
                    assessment
                    for assessment in assessments
                    if assessment.evaluation.evaluation_id not in known
                ]
        raise errors.DecisionContended

    async def _with_velocity(
        self, assessments: Sequence[Assessment], now: datetime
    ) -> list[Assessment]:
        try:
            counted = await self._counters.count(assessments, now)
        except errors.CountersUnavailable as error:
            affected = sum(1 for assessment in assessments if assessment.windows)
            velocity_unavailable_total.inc(affected)
            _log.warning("velocity not judged", evaluations=affected, **error.metadata)
            return [
                judgement.judge_velocity_unavailable(assessment, self._velocity_fallback)
                for assessment in assessments
            ]
        return [
            judgement.judge_velocity(assessment, counts)
            for assessment, counts in zip(assessments, counted, strict=True)
        ]

    async def _record(
        self, assessments: Sequence[Assessment], now: datetime
    ) -> dict[str, RecordedDecision]:
        """Judge the days and write everything, in one transaction. Raises DecisionContended."""
        if not assessments:
            return {}
        additions = judgement.day_additions(assessments)
        async with self._store.transaction() as transaction:
            # All is added first, because that also locks the totals and mostly nothing must be
            # taken back.
            held = await transaction.add_day_totals(additions)
            before = {key: held[key].total.minus(added) for key, added in additions.items()}
            judgements = judgement.judge_days(assessments, before)
            await transaction.give_back(_excess(assessments, judgements, held))
            recorded = await self._save(transaction, judgements, held, now)
        for item in judgements:
            decisions_total.labels(item.verdict.name).inc()
        return recorded

    async def _save(
        self,
        transaction: Transaction,
        judgements: Sequence[Judgement],
        held: Mapping[DayKey, HeldDay],
        now: datetime,
    ) -> dict[str, RecordedDecision]:
        cases = {
            item.evaluation.evaluation_id: self._open_case(item, now)
            for item in judgements
            if item.verdict is Verdict.REVIEW
        }
        recorded: dict[str, RecordedDecision] = {}
        records = []
        for item in judgements:
            evaluation_id = item.evaluation.evaluation_id
            case_id = cases[evaluation_id].case_id if evaluation_id in cases else ""
            held_ids = [held[key].day_total_id for key in item.held_days]
            records.append(rows.decision_record(item, case_id, now, held_ids))
            recorded[evaluation_id] = RecordedDecision(
                item.evaluation,
                Decision(
                    evaluation_id=evaluation_id,
                    verdict=item.verdict,
                    fired_rules=item.fired_rules,
                    case_id=case_id,
                    decided_at=now,
                ),
            )
        await transaction.insert_decisions(records)
        await transaction.insert_cases(list(cases.values()), now)
        await transaction.append_events([self._events.of(case, now) for case in cases.values()])
        return recorded

    def _open_case(self, item: Judgement, now: datetime) -> Case:
        return Case(
            case_id=self._ids.new("case"),
            evaluation=item.evaluation,
            fired_rules=item.fired_rules,
            state=CaseState.OPEN,
            decided_by="",
            note="",
            opened_at=now,
            decided_at=None,
        )


def _checked(evaluation: Evaluation) -> Evaluation | FiscError:
    try:
        return checks.checked_evaluation(evaluation)
    except FiscError as error:
        return error


def _answer(
    item: Evaluation | FiscError, known: Mapping[str, RecordedDecision]
) -> Decision | FiscError:
    if isinstance(item, FiscError):
        return item
    recorded = known[item.evaluation_id]
    if not recorded.evaluation.is_same_operation(item):
        return errors.EvaluationIdReused(field="evaluation_id")
    return recorded.decision


def _excess(
    assessments: Sequence[Assessment],
    judgements: Sequence[Judgement],
    held: Mapping[DayKey, HeldDay],
) -> list[tuple[int, DayTotal]]:
    """What was added for operations that a day limit then denied."""
    return [
        (held[key].day_total_id, DayTotal(item.evaluation.amount_minor, 1))
        for assessment, item in zip(assessments, judgements, strict=True)
        if item.verdict is Verdict.DENY and assessment.verdict is not Verdict.DENY
        for key in {day.key for day in assessment.days}
    ]
