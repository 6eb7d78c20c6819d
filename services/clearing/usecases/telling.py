"""The gateway is told what a channel's complete bill says of orders that clearing has no item for.

What waits there without a word of its channel gets it: a line is a success, and the lack of one, on the order's day and the next, is
a definite no. What that settles comes back by the event feed.
"""

from datetime import date
from typing import Final

from libs.clock import Clock
from libs.db.pool import Pool
from services.clearing.domain.model import Told
from services.clearing.store import statements as store
from services.clearing.usecases.matching import DRIFT_DAYS_MAX
from services.clearing.usecases.ports import Bills

# The contract takes 10,000; half of that stays well inside a message whatever the references' length.
LINES_PER_CALL_MAX: Final = 5_000
# Bills that the gateway was away for, told at a later close.
DAYS_TO_CATCH_UP_MAX: Final = 31


class Telling:
    """Tells the gateway."""

    def __init__(self, pool: Pool, bills: Bills, clock: Clock) -> None:
        self._pool = pool
        self._bills = bills
        self._clock = clock

    async def days_to_tell(self, channel_id: str, day: date) -> list[date]:
        """This day if its bill is in, and earlier ones whose bill the gateway was not told of; in order."""
        async with self._pool.acquire() as connection:
            return await store.days_to_tell(connection, channel_id, day, DAYS_TO_CATCH_UP_MAX)

    async def tell(self, channel_id: str, day: date) -> Told:
        """Tell of every line without an item, and that these were all, unless one could not be told. Idempotent. Raises FiscError."""
        told = Told()
        after_line, is_last = 0, False
        while not is_last:
            async with self._pool.acquire() as connection:
                lines = await store.unexplained_lines(
                    connection,
                    channel_id,
                    day,
                    drift_days=DRIFT_DAYS_MAX,
                    after_line=after_line,
                    limit=LINES_PER_CALL_MAX + 1,
                )
            is_last = len(lines) <= LINES_PER_CALL_MAX
            part = lines[:LINES_PER_CALL_MAX]
            is_complete = is_last and not told.failed_count
            told += await self._bills.settle(channel_id, day, part, is_complete=is_complete)
            after_line = part[-1].line_number if part else after_line
        if told.failed_count:
            return told
        async with self._pool.acquire() as connection:
            await store.mark_told(connection, channel_id, day, self._clock.now())
        return told
