"""Background loops."""

import asyncio

from services.account.usecases.posting import EXPIRED_PER_ROUND_MAX, Posting


async def expire_holds(posting: Posting, *, interval_s: float) -> None:
    """Release holds whose time is up, for ever; rests only when a round found few of them."""
    while True:
        if await posting.expire_holds() < EXPIRED_PER_ROUND_MAX:
            await asyncio.sleep(interval_s)
