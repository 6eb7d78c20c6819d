"""Page sizes, and page tokens that belong to one question."""

import base64
import binascii
import json

from services.account.domain import errors

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000


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
    try:
        padded = page_token + "=" * (-len(page_token) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise errors.InvalidPageToken(field="page_token") from None
    is_ours = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
    if not is_ours or len(parts) != len(question) + 1 or tuple(parts[:-1]) != question:
        raise errors.InvalidPageToken(field="page_token")
    return str(parts[-1])
