"""Pages: newest first, the token being the last id shown."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from services.gateway.domain.errors import InvalidPageToken

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
TOKEN_LENGTH_MAX = 64

T = TypeVar("T")


def size(asked: int) -> int:
    """As the contract says: 0 is the default, too much is the most."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def token(text: str) -> str:
    """Raises InvalidPageToken for what cannot be an id."""
    is_id = len(text) <= TOKEN_LENGTH_MAX and text.replace("_", "").replace("-", "").isalnum()
    if text and not is_id:
        raise InvalidPageToken(field="page_token")
    return text


def next_token(page: Sequence[T], asked: int, key: Callable[[T], str]) -> str:
    """Empty on the last page."""
    return key(page[-1]) if len(page) == size(asked) else ""
