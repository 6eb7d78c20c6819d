"""One JSON object a line on stdout, with secrets and card numbers masked before they are written.

Standard-library logging (alembic, uvicorn, grpc) goes the same way, from WARNING on.
"""

import dataclasses
import functools
import itertools
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

MASK = "***"
_DEPTH_MAX = 6

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_SECRET_WORDS = frozenset(
    {
        "authorization", "card", "cookie", "credential", "credentials", "cvc", "cvv", "email",
        "pan", "passwd", "password", "phone", "secret", "secrets", "token",
    }
)  # fmt: skip
_SECRET_PAIRS = frozenset(
    {("api", "key"), ("private", "key"), ("signing", "key"), ("id", "number"), ("mobile", "number")}
)
# 13 to 19 digits, singly separated or not, that are not part of a longer run of digits.
_CARD_NUMBER = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])", re.ASCII)


def configure(
    service: str,
    level: str = "INFO",
    format: Literal["json", "console"] = "json",  # noqa: A002 -- reads like the setting it is
) -> None:
    """Set up logging for this process; the last call wins."""
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _mask_event,
        functools.partial(_add_service, service),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    factory: structlog.BytesLoggerFactory | structlog.PrintLoggerFactory
    if format == "json":
        processors.append(structlog.processors.JSONRenderer(serializer=orjson.dumps))
        factory = structlog.BytesLoggerFactory(sys.stdout.buffer)
    else:
        processors.append(_console_renderer())
        factory = structlog.PrintLoggerFactory(sys.stdout)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def get_logger(**bound: object) -> structlog.typing.FilteringBoundLogger:
    """Return a logger that adds `bound` to every line; the event is a short past-tense phrase."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


def _console_renderer() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


class _ToStructlog(logging.Handler):
    """Passes records of the standard library on, so that they are masked and formatted alike."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_logger(source=record.name).log(
                record.levelno, record.getMessage(), exc_info=record.exc_info
            )
        except Exception:  # noqa: BLE001 -- a broken record must not break what logged it
            self.handleError(record)


def _add_service(service: str, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["service"] = service
    return event


def _mask_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: MASK if _is_secret(key) else _mask(value) for key, value in event.items()}


def _mask(value: object, depth: int = 0) -> Any:
    """Return `value` as plain JSON types, with secrets by key and card numbers by shape masked."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _CARD_NUMBER.sub(_mask_card_number, value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth >= _DEPTH_MAX:
        return f"<{type(value).__name__}>"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            str(key): MASK if _is_secret(str(key)) else _mask(inner, depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask(inner, depth + 1) for inner in value]
    return _mask(str(value), depth + 1)


@functools.lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    words = [word.lower() for word in _WORD.findall(key)]
    pairs = itertools.pairwise(words)
    return not _SECRET_WORDS.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(pairs)


def _mask_card_number(match: re.Match[str]) -> str:
    digits = [int(character) for character in match.group() if character.isdigit()]
    if not _passes_luhn(digits):
        return match.group()
    return f"{MASK}{match.group()[-4:]}"


def _passes_luhn(digits: list[int]) -> bool:
    """Check the last digit as ISO/IEC 7812-1, annex B, describes."""
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
