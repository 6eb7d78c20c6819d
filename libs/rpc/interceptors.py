"""What happens around every RPC a server of ours serves.

Two interceptors, because each costs time on every call: `CallInterceptor` is outermost (request id,
metrics, access log, deadline, errors), a service's own (authentication) come next,
`ValidationInterceptor` is innermost. So whatever an inner one raises reaches the caller as a proper
status. Wrapped handlers are kept: methods are a closed set.
"""

import abc
import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeAlias, cast

import grpc
import protovalidate
import structlog
from google.protobuf.message import Message
from typing_extensions import override

from libs import log
from libs.db.errors import is_connection_lost
from libs.errors import DeadlineExceeded, ErrorKind, FiscError, InvalidArgument, Unavailable
from libs.rpc import deadline, request_id, status
from libs.rpc.metrics import CODE_NAMES, MethodMetrics

Context = grpc.aio.ServicerContext[Any, Any]
# grpc defines this one generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Context], Awaitable[Any]]

# Probes and tools call these, and neither knows our rules.
EXEMPT_PREFIXES: Final = ("/grpc.health.", "/grpc.reflection.")

NUL: Final = b"\0"
# The items of a batch (AIP-233) are judged one by one by its handler, so that a bad one is refused by itself.
ITEMS_FIELD: Final = "requests"

_CODES: Final[dict[int | None, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}

_log = log.get_logger()


class DeadlineRequired(InvalidArgument):
    """This call needs a deadline."""

    reason = "DEADLINE_REQUIRED"


class Internal(FiscError):
    """Internal error; the correlation id leads to it in the log."""

    kind = ErrorKind.INTERNAL
    reason = "INTERNAL"


class HandlerInterceptor(grpc.aio.ServerInterceptor, abc.ABC):
    """Wraps unary-unary and unary-stream handlers, once a method; the other shapes pass unchanged.

    Base of every interceptor of ours, also of a service's own. What `wrap` returns runs instead of
    `inner`: for a unary method it returns the response, for a stream it writes to the context and
    returns None.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    @abc.abstractmethod
    def wrap(self, method: str, inner: Behaviour, *, is_stream: bool) -> Behaviour:
        """The behaviour to run instead of inner."""

    @override
    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        # Not known, or not ours.
        if handler is None or method.startswith(EXEMPT_PREFIXES):
            return handler
        original, wrapped = self._wrapped.get(method, (None, handler))
        if original is not handler:
            wrapped = self._wrap_handler(method, handler)
            self._wrapped[method] = (handler, wrapped)
        return wrapped

    def _wrap_handler(self, method: str, handler: Handler) -> Handler:
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self.wrap(method, cast(Behaviour, handler.unary_unary), is_stream=False),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self.wrap(method, _as_writer(handler.unary_stream), is_stream=True),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return handler


class CallInterceptor(HandlerInterceptor):
    """Request id, metrics, access log, deadline and error mapping; the outermost one."""

    @override
    def wrap(self, method: str, inner: Behaviour, *, is_stream: bool) -> Behaviour:
        metrics = MethodMetrics(method, "server_stream" if is_stream else "unary", side="server")
        serve = _serve_stream if is_stream else _serve_unary

        async def behave(request: Any, context: Context) -> Any:
            current_id = request_id.enter(_received_id(context))
            structlog.contextvars.bind_contextvars(request_id=current_id)
            metrics.started()
            started_s = time.perf_counter()
            code = grpc.StatusCode.UNKNOWN
            try:
                response = await serve(inner, request, context)
            except grpc.aio.AbortError:
                code = _code_set(context)
                raise
            except asyncio.CancelledError:
                is_late = _rest_s(context) == 0
                code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001 -- the last resort: it becomes a status
                answer = _answer_to(error, method, current_id)
                code = status.code_of(answer)
                return await context.abort_with_status(status.to_grpc(answer))
            else:
                code = _code_set(context)
                return response
            finally:
                elapsed_s = time.perf_counter() - started_s
                metrics.finished(code, elapsed_s)
                write = _log.warning if code is grpc.StatusCode.INTERNAL else _log.debug
                write(
                    "rpc served",
                    method=method,
                    code=CODE_NAMES[code],
                    elapsed_ms=round(elapsed_s * 1_000, 3),
                )

        return behave


class Validator:
    """The protovalidate rules of the contracts, and that no text holds what no database of ours can store."""

    def __init__(self) -> None:
        self._rules = protovalidate.Validator()

    def check(self, message: Message) -> None:
        """Raises RequestInvalid, which names each bad field."""
        if NUL in message.SerializeToString():
            # A quick look first: a NUL byte is common in the wire form of numbers, rare in requests of text.
            for path in _nul_fields(message):
                raise status.RequestInvalid([(path, "must not hold a NUL character")])
        violations = self._rules.collect_violations(message)
        if violations:
            raise status.RequestInvalid(
                [
                    (_field_path(violation.proto), violation.proto.message or "is not valid")
                    for violation in violations
                ]
            )


class ValidationInterceptor(HandlerInterceptor):
    """Refuses a request that breaks the protovalidate rules of its contract; the innermost one."""

    def __init__(self) -> None:
        super().__init__()
        self._validator = Validator()

    @override
    def wrap(self, method: str, inner: Behaviour, *, is_stream: bool) -> Behaviour:
        async def behave(request: Any, context: Context) -> Any:
            self._validator.check(request)
            return await inner(request, context)

        return behave


async def _serve_unary(inner: Behaviour, request: Any, context: Context) -> Any:
    rest_s = _rest_s(context)
    if rest_s is None:
        raise DeadlineRequired(deadline_max_s=f"{deadline.DEADLINE_MAX_S:g}")
    if rest_s <= deadline.DEADLINE_MAX_S:
        # gRPC itself cancels the handler when this one passes.
        deadline.enter(rest_s)
        return await inner(request, context)
    deadline.enter(deadline.DEADLINE_MAX_S)
    limit = asyncio.timeout(deadline.DEADLINE_MAX_S)
    try:
        async with limit:
            return await inner(request, context)
    except TimeoutError as error:
        if limit.expired():
            raise DeadlineExceeded(
                f"no call may take more than {deadline.DEADLINE_MAX_S:g} s"
            ) from error
        raise


async def _serve_stream(inner: Behaviour, request: Any, context: Context) -> Any:
    rest_s = _rest_s(context)
    if rest_s is not None:
        deadline.enter(rest_s)
    return await inner(request, context)


def _nul_fields(message: Message, prefix: str = "") -> Iterator[str]:
    """Paths of the string fields that hold a NUL, which no database of ours can store."""
    for field, value in message.ListFields():
        if field.name == ITEMS_FIELD and field.message_type is not None:
            continue
        path = f"{prefix}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            places = [(path, part) for entry in value.items() for part in entry]
        elif field.is_repeated:
            places = [(f"{path}[{number}]", each) for number, each in enumerate(value)]
        else:
            places = [(path, value)]
        for place, each in places:
            if isinstance(each, Message):
                yield from _nul_fields(each, f"{place}.")
            elif isinstance(each, str) and "\0" in each:
                yield place


def _answer_to(error: Exception, method: str, current_id: str) -> FiscError:
    """The error the caller may see in place of the one that was raised."""
    if isinstance(error, FiscError):
        return error
    if is_connection_lost(error):
        _log.warning("connection lost in a handler", method=method, exc_info=error)
        return Unavailable("a connection was lost; ask again with the same request id")
    _log.error("handler raised", method=method, exc_info=error)
    return Internal(correlation_id=current_id)


def _as_writer(behaviour: Any) -> Behaviour:
    """A stream handler of either shape as a coroutine that writes to the context."""
    if not inspect.isasyncgenfunction(behaviour):
        writer: Behaviour = behaviour
        return writer

    async def write_all(request: Any, context: Context) -> None:
        async with contextlib.aclosing(behaviour(request, context)) as messages:
            async for message in messages:
                await context.write(message)

    return write_all


def _rest_s(context: Context) -> float | None:
    """Seconds until the caller gives up, never negative; None when it set no deadline."""
    rest_s: float | None = context.time_remaining()
    return rest_s


def _received_id(context: Context) -> str | bytes | None:
    for key, value in context.invocation_metadata() or ():
        if key == request_id.METADATA_KEY:
            return value
    return None


def _code_set(context: Context) -> grpc.StatusCode:
    """The code the handler set or aborted with, OK where it did neither."""
    code: grpc.StatusCode | int | None = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.OK)


def _field_path(violation: Any) -> str:
    """The path of a buf.validate.Violation as people write it: items[2].amount.currency."""
    path = ""
    for element in violation.field.elements if violation.field else ():
        path += ("." if path else "") + element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    return path
