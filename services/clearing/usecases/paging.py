"""Pages by id: a token is the key of the last thing on the page before, opaque to its holder."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from services.clearing.domain import errors

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some things, and where the next ones begin; an empty token on the last page."""

    items: Sequence[T]
    next_token: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A size, 0 meaning the default, and the token of the page before."""

    size: int
    token: str

    @property
    def limit(self) -> int:
        """How many rows to read: one more than the page has, to see whether there is another."""
        return self._size + 1

    @property
    def after(self) -> str:
        """The key after which the page begins. Raises InvalidPageToken."""
        try:
            raw = base64.b64decode(self.token.encode("ascii"), altchars=b"-_", validate=True)
            after = raw.decode()
        except (binascii.Error, UnicodeError) as error:
            raise errors.InvalidPageToken(field="page_token") from error
        if "\0" in after:
            raise errors.InvalidPageToken(field="page_token")
        return after

    def page(self, rows: Sequence[T], key_of: Callable[[T], str]) -> Page[T]:
        """The page out of at most `limit` rows."""
        items = rows[: self._size]
        has_more = len(rows) > len(items)
        return Page(items, _token(key_of(items[-1])) if has_more else "")

    @property
    def _size(self) -> int:
        return min(self.size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode("ascii")
