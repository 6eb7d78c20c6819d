"""Opens, once at start, the ledger accounts that this release books to and an earlier one did not know of."""

import asyncio
from collections.abc import Awaitable, Callable

from libs.errors import FiscError
from libs.log import get_logger

RETRY_S = 2.0

_log = get_logger()


async def open_all(open_accounts: Callable[[], Awaitable[None]]) -> None:
    """Ends when they are open; the account service may come up later than we do."""
    while True:
        try:
            await open_accounts()
        except FiscError as error:
            _log.warning("ledger accounts not opened yet", reason=error.reason, **error.metadata)
            await asyncio.sleep(RETRY_S)
        else:
            return
