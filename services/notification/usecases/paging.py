"""Pages by id: a token holds the last id of the page before and is opaque to its holder."""

import base64
import binascii
from typing import Final

from services.notification.domain import errors

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
_AFTER: Final = "after:"


def limit(page_size: int) -> int:
    """How many items a page has; 0 asks for the default."""
    return min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def token(last_id: str) -> str:
    """The token of the page behind this id."""
    return base64.urlsafe_b64encode(f"{_AFTER}{last_id}".encode()).decode()


def read_token(text: str) -> str:
    """The id behind which the page begins, "" for the first page. Raises PageTokenInvalid."""
    if not text:
        return ""
    try:
        content = base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        content = ""
    if not content.startswith(_AFTER) or "\0" in content:
        raise errors.PageTokenInvalid(field="page_token")
    return content.removeprefix(_AFTER)
