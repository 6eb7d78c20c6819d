"""Background loops."""

import asyncio

from libs import log
from libs.db.errors import is_connection_lost
from services.risk.usecases.book import CurrentBook

_log = log.get_logger()


class BookRefresher:
    """Keeps the rule book current with what other replicas write."""

    def __init__(self, book: CurrentBook, *, every_s: float) -> None:
        """Looks every `every_s` seconds."""
        self._book = book
        self._every_s = every_s

    async def run(self) -> None:
        """Endless; while the database is away the book stays as it was."""
        while True:
            try:
                await self._book.refresh()
            except Exception as error:
                if not is_connection_lost(error):
                    raise
                _log.warning("rule book not refreshed", error=repr(error))
            await asyncio.sleep(self._every_s)
