"""Background loops."""

import asyncio

import prometheus_client

from libs import log
from libs.db.errors import is_connection_lost
from services.account.usecases.chart import Chart
from services.account.usecases.closing import Closing
from services.account.usecases.posting import EXPIRED_PER_ROUND_MAX, Posting

ledger_imbalance = prometheus_client.Gauge(
    "ledger_imbalance_minor_units", "Debits minus credits of the whole ledger.", ["currency"]
)

_log = log.get_logger()


async def expire_holds(posting: Posting, *, interval_s: float) -> None:
    """Release holds whose time is up, for ever; rests only when a round found few of them."""
    while True:
        if await posting.expire_holds() < EXPIRED_PER_ROUND_MAX:
            await asyncio.sleep(interval_s)


async def watch_imbalance(chart: Chart, *, interval_s: float) -> None:
    """Measure the imbalance of the ledger, for ever; while the database is away it stays as it was."""
    while True:
        try:
            imbalances = await chart.get_imbalances()
        except Exception as error:
            if not is_connection_lost(error):
                raise
            _log.warning("ledger not measured", error=repr(error))
        else:
            for currency, imbalance_minor in imbalances.items():
                ledger_imbalance.labels(currency).set(imbalance_minor)
                if imbalance_minor:
                    _log.error(
                        "ledger out of balance",
                        currency=currency,
                        imbalance_minor=imbalance_minor,
                    )
        await asyncio.sleep(interval_s)


async def close_days(closing: Closing, *, interval_s: float) -> None:
    """Write the closing balances of days that have ended, for ever; what was missed is caught up."""
    while True:
        try:
            if closed := await closing.close_due_days():
                _log.info("booking days closed", days=closed)
        except Exception as error:
            if not is_connection_lost(error):
                raise
            _log.warning("booking days not closed", error=repr(error))
        await asyncio.sleep(interval_s)
