"""The rule book in memory, because no evaluation should read it from the database."""

from libs.clock import Clock
from services.risk.domain.model import RuleBook
from services.risk.store.database import Store


class CurrentBook:
    """The newest rule book this process has read; the worker and our own writes keep it so."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Empty until the first refresh."""
        self._store = store
        self._clock = clock
        self._book = RuleBook(revision=0, rules=(), entries={})

    @property
    def book(self) -> RuleBook:
        """As last read."""
        return self._book

    async def refresh(self) -> None:
        """Read the book again if it has changed."""
        if await self._store.revision() == self._book.revision:
            return
        book = await self._store.rule_book(self._clock.now())
        # Another refresh may have been faster, and have read a newer one.
        if book.revision > self._book.revision:
            self._book = book
