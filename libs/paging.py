"""Lists in pages, by key: a token is the key of the last thing on the page before.

A token is opaque to its holder and belongs to one question: base64url of the UTF-8 text
`after NUL question NUL … NUL key`. NUL separates since no text of ours holds one.
"""

import base64
import binascii
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from libs.errors import ErrorKind, FiscError

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
_MARK: Final = "after"
_SEPARATOR: Final = "\0"

T = TypeVar("T")


class InvalidPageToken(FiscError):
    """The page token does not come from an earlier answer to this question."""

    kind = ErrorKind.INVALID
    reason = "INVALID_PAGE_TOKEN"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some things, and where the next ones begin; an empty token on the last page."""

    items: Sequence[T]
    next_token: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A size, 0 meaning the default, and the token of the page before, "" for the first page."""

    size: int
    token: str
    question: tuple[str, ...] = ()

    def about(self, *question: str) -> "PageRequest":
        """The same request, whose tokens belong to this question only."""
        return dataclasses.replace(self, question=question)

    @property
    def limit(self) -> int:
        """How many rows to read: one more than the page has, to see whether there is another."""
        return self._size + 1

    @property
    def after(self) -> str:
        """The key after which the page begins, "" for the first. Raises InvalidPageToken."""
        if not self.token:
            return ""
        try:
            text = base64.b64decode(self.token, altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidPageToken(field="page_token") from error
        *asked, key = text.split(_SEPARATOR)
        if asked != [_MARK, *self.question]:
            raise InvalidPageToken(field="page_token")
        return key

    def page(self, rows: Sequence[T], key_of: Callable[[T], str]) -> Page[T]:
        """The page out of at most `limit` rows."""
        items = rows[: self._size]
        has_more = len(rows) > len(items)
        return Page(items, self._token(key_of(items[-1])) if has_more else "")

    @property
    def _size(self) -> int:
        return min(self.size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)

    def _token(self, key: str) -> str:
        text = _SEPARATOR.join((_MARK, *self.question, key))
        return base64.urlsafe_b64encode(text.encode()).decode("ascii")
