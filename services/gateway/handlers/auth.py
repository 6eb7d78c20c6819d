"""Who calls: merchants by API key for the public services, the platform's token or a person's key for everything else."""

import hmac
from contextvars import ContextVar
from typing import Final

import grpc
from typing_extensions import override

from libs.rpc.interceptors import Behaviour, Context, HandlerInterceptor
from services.gateway.domain.errors import (
    ApiKeyInvalid,
    OperatorKeyRequired,
    PlatformTokenRequired,
)
from services.gateway.domain.merchant import Merchant, parse_api_key
from services.gateway.domain.operators import PLATFORM
from services.gateway.usecases.operations import Merchants
from services.gateway.usecases.operators import Operators

PUBLIC_PREFIX = "/fisc.gateway.v1.PaymentService/"
# What merchants call.
PUBLIC_PREFIXES = (PUBLIC_PREFIX, "/fisc.gateway.v1.PayoutFileService/")
_SCHEME = "Bearer "
# Of the call being served; each is a task of its own, so none sees another's.
_caller: Final[ContextVar[str]] = ContextVar("operator_id")


class OperatorInterceptor(HandlerInterceptor):
    """Lets only operators into everything but the public services, and remembers who it was."""

    def __init__(self, operator_token: str, operators: Operators) -> None:
        super().__init__()
        self._token = operator_token
        self._operators = operators

    @override
    def wrap(self, method: str, inner: Behaviour, *, is_stream: bool) -> Behaviour:
        if method.startswith(PUBLIC_PREFIXES):
            return inner

        async def behave(request: object, context: Context) -> object:
            _caller.set(await self._identify(bearer(context)))
            return await inner(request, context)

        return behave

    async def _identify(self, credential: str) -> str:
        if hmac.compare_digest(credential.encode(), self._token.encode()):
            return PLATFORM
        return await self._operators.authenticate(credential)


def caller() -> str:
    """Who calls, for the audit chain: a person, or PLATFORM."""
    return _caller.get()


def person() -> str:
    """The person who calls. Raises OperatorKeyRequired: the platform's token is nobody."""
    if caller() == PLATFORM:
        raise OperatorKeyRequired
    return caller()


def platform() -> str:
    """PLATFORM. Raises PlatformTokenRequired for a person: nobody lets others in by themselves."""
    if caller() != PLATFORM:
        raise PlatformTokenRequired
    return PLATFORM


async def merchant_of(
    context: "grpc.aio.ServicerContext[object, object]", merchants: Merchants
) -> Merchant:
    """The merchant behind a call. Raises ApiKeyInvalid."""
    api_key = bearer(context)
    if not api_key:
        raise ApiKeyInvalid
    return await merchants.authenticate(api_key)


def key_id_of(context: "grpc.aio.ServicerContext[object, object]") -> str:
    """Which of a merchant's API keys makes a call; it proves nothing by itself. Raises ApiKeyInvalid."""
    parsed = parse_api_key(bearer(context))
    if parsed is None:
        raise ApiKeyInvalid
    return parsed[0]


def bearer(context: "grpc.aio.ServicerContext[object, object]") -> str:
    """What the caller sent as "authorization: Bearer …"; empty when it sent nothing of the kind."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(_SCHEME):
            return value.removeprefix(_SCHEME)
    return ""
