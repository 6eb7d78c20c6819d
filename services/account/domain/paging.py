"""Page sizes, and page tokens that belong to one question."""

import base64
import contextlib
import json

from services.account.domain import errors

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
TOKEN_LENGTH_MAX = 1024
SEQUENCE_DIGITS_MAX = 18


def page_size(asked: int) -> int:
    """Return how many rows a page holds: 0 means the default, more than the maximum is cut."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def token(question: tuple[str, ...], last: str) -> str:
    """Return an opaque token that goes on after `last`, for the same question only."""
    text = json.dumps([*question, last], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def last_of(question: tuple[str, ...], page_token: str) -> str | None:
    """Return where the previous page ended, None for the first page, or raise InvalidPageToken."""
    if not page_token:
        return None
    parts = _decode(page_token)
    if len(parts) != len(question) + 1 or tuple(parts[:-1]) != question:
        raise errors.InvalidPageToken(field="page_token")
    return parts[-1]


def to_sequence(last: str | None) -> int:
    """Read where a page of numbered rows ended, 0 for the first page, or raise InvalidPageToken."""
    if last is None:
        return 0
    if not (last.isascii() and last.isdecimal() and len(last) <= SEQUENCE_DIGITS_MAX):
        raise errors.InvalidPageToken(field="page_token")
    return int(last)


def _decode(page_token: str) -> list[str]:
    """Return the texts in a token; a made-up one raises InvalidPageToken."""
    parts: object = None
    if len(page_token) <= TOKEN_LENGTH_MAX:
        padded = page_token + "=" * (-len(page_token) % 4)
        with contextlib.suppress(ValueError, RecursionError):
            parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    if not isinstance(parts, list) or not all(_is_text(part) for part in parts):
        raise errors.InvalidPageToken(field="page_token")
    return parts


def _is_text(part: object) -> bool:
    """Whether this is a text that the database can compare with."""
    return (
        isinstance(part, str)
        and "\x00" not in part
        and part.encode(errors="replace").decode() == part
    )
