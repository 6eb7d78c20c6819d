"""Who calls: merchants by API key for the public service, operators by token for everything else."""

import hmac

import grpc
from typing_extensions import override

from libs.rpc.interceptors import Behaviour, Context, HandlerInterceptor
from services.gateway.domain.errors import ApiKeyInvalid, OperatorTokenInvalid
from services.gateway.domain.merchant import Merchant
from services.gateway.usecases.operations import Merchants

PUBLIC_PREFIX = "/fisc.gateway.v1.PaymentService/"
_SCHEME = "Bearer "


class OperatorInterceptor(HandlerInterceptor):
    """Lets only operators into everything but the public service."""

    def __init__(self, operator_token: str) -> None:
        super().__init__()
        self._token = operator_token

    @override
    def wrap(self, method: str, inner: Behaviour, *, is_stream: bool) -> Behaviour:
        if method.startswith(PUBLIC_PREFIX):
            return inner

        async def behave(request: object, context: Context) -> object:
            if not hmac.compare_digest(bearer(context).encode(), self._token.encode()):
                raise OperatorTokenInvalid
            return await inner(request, context)

        return behave


async def merchant_of(
    context: "grpc.aio.ServicerContext[object, object]", merchants: Merchants
) -> Merchant:
    """The merchant behind a call. Raises ApiKeyInvalid."""
    api_key = bearer(context)
    if not api_key:
        raise ApiKeyInvalid
    return await merchants.authenticate(api_key)


def bearer(context: "grpc.aio.ServicerContext[object, object]") -> str:
    """What the caller sent as "authorization: Bearer …"; empty when it sent nothing of the kind."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(_SCHEME):
            return value.removeprefix(_SCHEME)
    return ""
