"""The loop that keeps the routing view fresh."""

import asyncio
from typing import Final

from services.router.usecases import Router

REFRESH_INTERVAL_S: Final = 0.5


async def refresh(router: Router) -> None:
    """Refresh the view for ever.

    Errors end it: the server logs them and starts it again with back-off.
    """
    while True:
        await router.refresh()
        await asyncio.sleep(REFRESH_INTERVAL_S)
