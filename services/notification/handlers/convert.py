"""Between the contract's messages and the domain."""

from collections.abc import Sequence
from typing import Final

from fisc.notification.v1 import notification_pb2 as pb
from libs.errors import InvalidArgument
from libs.rpc import convert
from services.notification.domain.delivery import Attempt, Delivery, DeliveryState
from services.notification.domain.endpoint import Endpoint, EndpointState

_ENDPOINT_STATES: Final = {
    pb.Endpoint.STATE_ENABLED: EndpointState.ENABLED,
    pb.Endpoint.STATE_DISABLED: EndpointState.DISABLED,
}
_ENDPOINT_STATES_TO_PROTO: Final = {state: value for value, state in _ENDPOINT_STATES.items()}
_DELIVERY_STATES: Final = {
    pb.Delivery.STATE_PENDING: DeliveryState.PENDING,
    pb.Delivery.STATE_DELIVERED: DeliveryState.DELIVERED,
    pb.Delivery.STATE_DEAD: DeliveryState.DEAD,
}
_DELIVERY_STATES_TO_PROTO: Final = {state: value for value, state in _DELIVERY_STATES.items()}


def endpoint_state(value: "pb.Endpoint.State.ValueType") -> EndpointState | None:
    """A state, or None when it is not set. Raises InvalidArgument."""
    if value == pb.Endpoint.STATE_UNSPECIFIED:
        return None
    if value not in _ENDPOINT_STATES:
        raise InvalidArgument("There is no such state.", field="endpoint.state")
    return _ENDPOINT_STATES[value]


def delivery_state(value: "pb.Delivery.State.ValueType") -> DeliveryState | None:
    """A state, or None when it is not set. Raises InvalidArgument."""
    if value == pb.Delivery.STATE_UNSPECIFIED:
        return None
    if value not in _DELIVERY_STATES:
        raise InvalidArgument("There is no such state.", field="state")
    return _DELIVERY_STATES[value]


def endpoint_to_proto(endpoint: Endpoint) -> pb.Endpoint:
    """An endpoint; its secrets are not part of it."""
    return pb.Endpoint(
        endpoint_id=endpoint.endpoint_id,
        merchant_id=endpoint.merchant_id,
        url=endpoint.url,
        event_types=endpoint.event_types,
        state=_ENDPOINT_STATES_TO_PROTO[endpoint.state],
        created_at=convert.to_timestamp(endpoint.created_at),
    )


def delivery_to_proto(delivery: Delivery, attempts: Sequence[Attempt] = ()) -> pb.Delivery:
    """A delivery with the attempts given."""
    message = pb.Delivery(
        delivery_id=delivery.delivery_id,
        endpoint_id=delivery.endpoint_id,
        merchant_id=delivery.merchant_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        subject_id=delivery.subject_id,
        state=_DELIVERY_STATES_TO_PROTO[delivery.state],
        attempts_count=delivery.attempts_count,
        created_at=convert.to_timestamp(delivery.created_at),
        body=delivery.body,
        attempts=[_attempt_to_proto(each) for each in attempts],
    )
    if delivery.next_attempt_at is not None:
        message.next_attempt_at.CopyFrom(convert.to_timestamp(delivery.next_attempt_at))
    return message


def _attempt_to_proto(attempt: Attempt) -> pb.DeliveryAttempt:
    return pb.DeliveryAttempt(
        attempted_at=convert.to_timestamp(attempt.attempted_at),
        http_status=attempt.http_status,
        latency_ms=attempt.latency_ms,
        error=attempt.error,
    )
