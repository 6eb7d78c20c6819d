"""The contract's enums under the names the domain uses."""

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import payment_pb2
from fisc.router.v1 import router_pb2

METHODS: dict[str, method_pb2.PaymentMethod.ValueType] = {
    name.removeprefix("PAYMENT_METHOD_"): value for name, value in method_pb2.PaymentMethod.items()
}
METHOD_NAMES = {value: name for name, value in METHODS.items()}
OPERATIONS: dict[str, method_pb2.Operation.ValueType] = {
    name.removeprefix("OPERATION_"): value for name, value in method_pb2.Operation.items()
}
ROUTINGS = {value: name.removeprefix("ROUTING_") for name, value in payment_pb2.Routing.items()}
POLICIES: dict[str, router_pb2.Policy.ValueType] = {
    name.removeprefix("POLICY_"): value for name, value in router_pb2.Policy.items()
}
