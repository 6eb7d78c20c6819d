"""From channels and estimates to a plan with its reasons. Deterministic: same input, same plan.

Cost and latency are those of a *success*, not of a try. With success rate p, a success takes 1/p
tries on average, of which (1-p)/p fail, and every failed try loses something besides: 0.5 % of the
amount (buyers who give up) and one second (until the next channel has been asked). Hence a free
channel that never works is dear, and one that fails at once is slow. In money, scaled to whole
millionths of a minor unit, nothing but integers is used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs import money
from libs.money import Money
from services.router.domain import errors, plan
from services.router.domain.channel import PPM_PER_UNIT, Channel, ChannelStatus
from services.router.domain.plan import Candidate, Exclusion, Plan, Policy, RouteQuery
from services.router.domain.statistics import WINDOW, Arm, ArmKey, Estimate, estimate

FAILED_TRY_COST_PPM: Final = 5_000
FAILED_TRY_DELAY_MS: Final = 1_000.0
WEIGHT_SUCCESS: Final = 0.5
WEIGHT_COST: Final = 0.3
WEIGHT_LATENCY: Final = 0.2
SCORE_DECIMALS: Final = 6

_FAVOURS: Final = {
    Policy.CHEAPEST: "the lowest expected cost per success",
    Policy.MOST_SUCCESSFUL: "the highest expected success rate",
    Policy.FASTEST: "the shortest expected time to success",
    Policy.BALANCED: "the best balance of success rate, cost and time",
}
_WINDOW_MINUTES: Final = int(WINDOW.total_seconds()) // 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """An estimate and how to say it; the same for every item of a batch."""

    estimate: Estimate
    time_to_success_ms: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rated:
    channel: Channel
    assessment: Assessment
    cost_minor: int
    cost_per_success_micro: int


class Assessor:
    """Assesses each arm once, at the moment it is made for."""

    def __init__(self, arms: Mapping[ArmKey, Arm], now: datetime) -> None:
        self._arms = arms
        self._now = now
        self._known: dict[ArmKey, Assessment] = {}

    def assess(self, key: ArmKey) -> Assessment:
        """What to expect of an arm, the prior alone if nothing is known of it."""
        assessment = self._known.get(key)
        if assessment is None:
            assessment = _assess(estimate(self._arms.get(key, Arm()), self._now))
            self._known[key] = assessment
        return assessment


def make_plan(
    query: RouteQuery, channels: Iterable[Channel], assessor: Assessor, now: datetime
) -> Plan:
    """Order the channels that can take the operation, and name the others with the reason.

    Ties go to the lower static_rank, then to the lower id. Raises NoChannel, with the reason of
    each exclusion in its metadata, or what plan.check raises.
    """
    plan.check(query)
    rated: list[_Rated] = []
    exclusions: list[Exclusion] = []
    for channel in channels:
        reason = exclusion_reason(channel, query)
        if reason is None:
            rated.append(_rate(channel, query, assessor))
        else:
            exclusions.append(Exclusion(channel_id=channel.channel_id, reason=reason))
    if not rated:
        raise errors.NoChannel(
            f"none of {len(exclusions)} channels can take this operation",
            exclusions=", ".join(f"{each.channel_id}: {each.reason}" for each in exclusions),
        )
    candidates = _order(query, rated)
    return Plan(
        route_key=query.route_key,
        candidates=candidates,
        exclusions=tuple(sorted(exclusions, key=lambda exclusion: exclusion.channel_id)),
        policy=query.policy,
        explanation=_explain(query.policy, candidates, len(exclusions)),
        decided_at=now,
    )


def exclusion_reason(channel: Channel, query: RouteQuery) -> str | None:
    """Why a channel cannot be planned for this, as UPPER_SNAKE; None if it can."""
    if channel.status is ChannelStatus.DISABLED:
        return "CHANNEL_DISABLED"
    if channel.status is ChannelStatus.DRAINED:
        return "CHANNEL_DRAINED"
    if query.allowed_channel_ids and channel.channel_id not in query.allowed_channel_ids:
        return "NOT_ALLOWED"
    if query.operation not in channel.operations:
        return "OPERATION_UNSUPPORTED"
    if query.method not in channel.methods:
        return "METHOD_UNSUPPORTED"
    if query.currency not in channel.currencies:
        return "CURRENCY_UNSUPPORTED"
    if query.amount_minor < channel.amount_minimum_minor:
        return "AMOUNT_TOO_SMALL"
    if 0 < channel.amount_maximum_minor < query.amount_minor:
        return "AMOUNT_TOO_LARGE"
    return None


def cost_per_success_micro(cost_minor: int, amount_minor: int, success_rate: float) -> int:
    """Expected cost of one success, in millionths of a minor unit.

    Fee ÷ p + loss of a failed try × (1-p) ÷ p. It only ranks channels; nobody is charged it.
    """
    rate_ppm = max(1, round(success_rate * PPM_PER_UNIT))
    loss_micro = amount_minor * FAILED_TRY_COST_PPM
    total = cost_minor * PPM_PER_UNIT * PPM_PER_UNIT + loss_micro * (PPM_PER_UNIT - rate_ppm)
    return money.mul_div(total, 1, rate_ppm, "half_up")


def time_to_success_ms(latency_ms: float, success_rate: float) -> float:
    """Expected time until one success, in milliseconds.

    Latency ÷ p + delay of a failed try × (1-p) ÷ p.
    """
    rate = max(success_rate, 1 / PPM_PER_UNIT)
    return (latency_ms + FAILED_TRY_DELAY_MS * (1 - rate)) / rate


def _assess(expected: Estimate) -> Assessment:
    rate = f"{expected.success_rate:.1%}"
    if expected.alarm is not None:
        successes, outcomes = expected.alarm
        why = (
            f"failing now: only {successes} of its last {outcomes} outcomes succeeded, far below"
            f" its {_WINDOW_MINUTES} minutes, so these decide: expected success rate {rate}"
        )
    elif expected.samples:
        why = (
            f"expected success rate {rate}: {expected.successes} of {expected.samples} succeeded"
            f" in the last {_WINDOW_MINUTES} minutes, prior included"
        )
    else:
        why = f"no outcomes in the last {_WINDOW_MINUTES} minutes: assumed success rate {rate}"
    return Assessment(
        estimate=expected,
        time_to_success_ms=time_to_success_ms(expected.latency_ms, expected.success_rate),
        reasons=(why, f"expected to answer in {expected.latency_ms:.0f} ms"),
    )


def _rate(channel: Channel, query: RouteQuery, assessor: Assessor) -> _Rated:
    assessment = assessor.assess(ArmKey(channel.channel_id, query.method, query.operation))
    cost_minor = channel.fee.cost(query.amount_minor)
    return _Rated(
        channel=channel,
        assessment=assessment,
        cost_minor=cost_minor,
        cost_per_success_micro=cost_per_success_micro(
            cost_minor, query.amount_minor, assessment.estimate.success_rate
        ),
    )


def _order(query: RouteQuery, rated: list[_Rated]) -> tuple[Candidate, ...]:
    best_cost_micro = min(each.cost_per_success_micro for each in rated)
    best_time_ms = min(each.assessment.time_to_success_ms for each in rated)
    best_rate = max(each.assessment.estimate.success_rate for each in rated)
    scored = sorted(
        ((_score(query.policy, each, best_cost_micro, best_time_ms), each) for each in rated),
        key=lambda pair: (-pair[0], pair[1].channel.static_rank, pair[1].channel.channel_id),
    )
    candidates = []
    for score, each in scored:
        cost = Money(query.currency, each.cost_minor)
        reasons = [*each.assessment.reasons, f"fee {cost}"]
        if len(rated) > 1:
            if each.cost_per_success_micro == best_cost_micro:
                reasons.append("lowest cost per success")
            if each.assessment.estimate.success_rate == best_rate:
                reasons.append("highest success rate")
            if each.assessment.time_to_success_ms == best_time_ms:
                reasons.append("shortest time to success")
        candidates.append(
            Candidate(
                channel_id=each.channel.channel_id,
                score=score,
                expected_cost_minor=each.cost_minor,
                success_rate=each.assessment.estimate.success_rate,
                latency_ms=each.assessment.estimate.latency_ms,
                samples=each.assessment.estimate.samples,
                reasons=tuple(reasons),
            )
        )
    return tuple(candidates)


def _score(policy: Policy, each: _Rated, best_cost_micro: int, best_time_ms: float) -> float:
    # Ratios to the best, not distances: channels that hardly differ get hardly different scores.
    cost = best_cost_micro / each.cost_per_success_micro if each.cost_per_success_micro else 1.0
    time = best_time_ms / each.assessment.time_to_success_ms
    success = each.assessment.estimate.success_rate
    match policy:
        case Policy.CHEAPEST:
            return round(cost, SCORE_DECIMALS)
        case Policy.MOST_SUCCESSFUL:
            return round(success, SCORE_DECIMALS)
        case Policy.FASTEST:
            return round(time, SCORE_DECIMALS)
        case Policy.BALANCED:
            mean = WEIGHT_SUCCESS * success + WEIGHT_COST * cost + WEIGHT_LATENCY * time
            return round(mean, SCORE_DECIMALS)


def _explain(policy: Policy, candidates: tuple[Candidate, ...], excluded: int) -> str:
    first = candidates[0]
    others = (
        f"{len(candidates) - 1} more can take over" if len(candidates) > 1 else "no other can do it"
    )
    return (
        f"{first.channel_id} first, for {_FAVOURS[policy]} (score {first.score:.3f});"
        f" {others}, {excluded} excluded."
    )
