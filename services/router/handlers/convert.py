"""Between the contract's messages and the router's own types."""

from enum import StrEnum
from typing import Final, TypeVar

from fisc.common.v1 import method_pb2
from fisc.router.v1 import router_pb2
from libs.errors import FiscError, InvalidArgument
from libs.rpc import convert
from services.router.domain.channel import (
    Channel,
    ChannelStatus,
    FeeSchedule,
    Method,
    Operation,
)
from services.router.domain.plan import Plan, Policy, RouteQuery
from services.router.domain.statistics import WINDOW, ArmKey, Estimate, Outcome

_Word = TypeVar("_Word", bound=StrEnum)

METHOD_TO_PROTO: Final = {
    each: method_pb2.PaymentMethod.Value(f"PAYMENT_METHOD_{each}") for each in Method
}
OPERATION_TO_PROTO: Final = {
    each: method_pb2.Operation.Value(f"OPERATION_{each}") for each in Operation
}
STATUS_TO_PROTO: Final = {
    each: router_pb2.ChannelStatus.Value(f"CHANNEL_STATUS_{each}") for each in ChannelStatus
}
POLICY_TO_PROTO: Final = {each: router_pb2.Policy.Value(f"POLICY_{each}") for each in Policy}

_METHODS: Final[dict[int, Method]] = {value: key for key, value in METHOD_TO_PROTO.items()}
_OPERATIONS: Final[dict[int, Operation]] = {value: key for key, value in OPERATION_TO_PROTO.items()}
_STATUSES: Final[dict[int, ChannelStatus]] = {value: key for key, value in STATUS_TO_PROTO.items()}
_POLICIES: Final[dict[int, Policy]] = {
    router_pb2.POLICY_UNSPECIFIED: Policy.BALANCED,
    **{value: key for key, value in POLICY_TO_PROTO.items()},
}


def channel_from_proto(message: router_pb2.Channel) -> Channel:
    """A described channel. Raises InvalidArgument for words that are not set or not known."""
    return Channel(
        channel_id=message.channel_id,
        provider=message.provider,
        display_name=message.display_name,
        status=_word(_STATUSES, message.status, "channel.status"),
        methods=tuple(
            dict.fromkeys(
                _word(_METHODS, each, f"channel.methods[{index}]")
                for index, each in enumerate(message.methods)
            )
        ),
        operations=tuple(
            dict.fromkeys(
                _word(_OPERATIONS, each, f"channel.operations[{index}]")
                for index, each in enumerate(message.operations)
            )
        ),
        currencies=tuple(message.currencies),
        amount_minimum_minor=message.amount_minimum_minor,
        amount_maximum_minor=message.amount_maximum_minor,
        fee=FeeSchedule(
            rate_ppm=message.fee.rate_ppm,
            fixed_minor=message.fee.fixed_minor,
            minimum_minor=message.fee.minimum_minor,
            maximum_minor=message.fee.maximum_minor,
        ),
        zone=message.zone,
        cut_off=message.cut_off,
        static_rank=message.static_rank,
        etag=message.etag,
    )


def channel_to_proto(channel: Channel) -> router_pb2.Channel:
    """A stored channel."""
    return router_pb2.Channel(
        channel_id=channel.channel_id,
        provider=channel.provider,
        display_name=channel.display_name,
        status=STATUS_TO_PROTO[channel.status],
        methods=[METHOD_TO_PROTO[each] for each in channel.methods],
        operations=[OPERATION_TO_PROTO[each] for each in channel.operations],
        currencies=channel.currencies,
        amount_minimum_minor=channel.amount_minimum_minor,
        amount_maximum_minor=channel.amount_maximum_minor,
        fee=router_pb2.FeeSchedule(
            rate_ppm=channel.fee.rate_ppm,
            fixed_minor=channel.fee.fixed_minor,
            minimum_minor=channel.fee.minimum_minor,
            maximum_minor=channel.fee.maximum_minor,
        ),
        zone=channel.zone,
        cut_off=channel.cut_off,
        static_rank=channel.static_rank,
        etag=channel.etag,
    )


def status_from_proto(value: int) -> ChannelStatus:
    """The status, which must be set."""
    return _word(_STATUSES, value, "status")


def query_from_proto(message: router_pb2.RouteQuery) -> RouteQuery:
    """An operation to plan."""
    return RouteQuery(
        route_key=message.route_key,
        merchant_id=message.merchant_id,
        currency=message.amount.currency,
        amount_minor=message.amount.amount_minor,
        method=_word(_METHODS, message.method, "method"),
        operation=_word(_OPERATIONS, message.operation, "operation"),
        policy=_word(_POLICIES, message.policy, "policy"),
        allowed_channel_ids=frozenset(message.allowed_channel_ids),
    )


def plan_to_proto(plan: Plan) -> router_pb2.Plan:
    """A plan."""
    return router_pb2.Plan(
        route_key=plan.route_key,
        candidates=[
            router_pb2.Candidate(
                channel_id=each.channel_id,
                score=each.score,
                expected_cost_minor=each.expected_cost_minor,
                success_rate=each.success_rate,
                latency_ms=each.latency_ms,
                samples=each.samples,
                reasons=each.reasons,
            )
            for each in plan.candidates
        ],
        exclusions=[
            router_pb2.Exclusion(channel_id=each.channel_id, reason=each.reason)
            for each in plan.exclusions
        ],
        policy=POLICY_TO_PROTO[plan.policy],
        explanation=plan.explanation,
        decided_at=convert.to_timestamp(plan.decided_at),
    )


def result_to_proto(result: Plan | FiscError) -> router_pb2.RouteResult:
    """One item of a batch."""
    if isinstance(result, FiscError):
        return router_pb2.RouteResult(error=convert.error_to_item(result))
    return router_pb2.RouteResult(plan=plan_to_proto(result))


def outcome_from_proto(message: router_pb2.AttemptOutcome, index: int) -> Outcome:
    """The outcome at this index of a request."""
    return Outcome(
        attempt_id=message.attempt_id,
        arm=ArmKey(
            message.channel_id,
            _word(_METHODS, message.method, f"outcomes[{index}].method"),
            _word(_OPERATIONS, message.operation, f"outcomes[{index}].operation"),
        ),
        succeeded=message.succeeded,
        # A success cannot be a decline, whatever the sender says.
        business_decline=message.business_decline and not message.succeeded,
        latency_ms=message.latency_ms,
        code=message.code,
        occurred_at=convert.from_timestamp(message.occurred_at),
    )


def stats_to_proto(channel_id: str, method: Method, expected: Estimate) -> router_pb2.ChannelStats:
    """What is expected of one method of a channel."""
    return router_pb2.ChannelStats(
        channel_id=channel_id,
        method=METHOD_TO_PROTO[method],
        samples=expected.samples,
        successes=expected.successes,
        success_rate=expected.success_rate,
        latency_ms=expected.latency_ms,
        window_s=int(WINDOW.total_seconds()),
    )


def _word(words: dict[int, _Word], value: int, field: str) -> _Word:
    try:
        return words[value]
    except KeyError:
        raise InvalidArgument(f"{field} is not set or not known", field=field) from None
