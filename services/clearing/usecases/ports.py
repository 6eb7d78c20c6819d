"""What the use cases need of others; `clients` and `workers` fit these by their shape."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Protocol

from services.clearing.domain.bills.model import BillLine
from services.clearing.domain.model import BillFile, Channel, Told
from services.clearing.domain.settlement import Booked, Transfer
from services.clearing.domain.sweeping import HoldAnswer, Standing, Sweep


class Bills(Protocol):
    """The gateway's way to the channels' bills."""

    async def fetch(self, channel_id: str, day: date) -> BillFile:
        """Return the raw bill. Raises FiscError; reason BILL_NOT_READY when it is too early."""
        ...

    async def settle(
        self, channel_id: str, day: date, lines: Sequence[BillLine], *, is_complete: bool
    ) -> Told:
        """Tell of succeeded lines without an item; complete in the last call. Raises FiscError."""
        ...


class Ledger(Protocol):
    """The account service."""

    async def open_platform_accounts(self, currencies: Collection[str]) -> None:
        """Open our own accounts in these currencies; idempotent. Raises FiscError."""
        ...

    async def post(self, transfers: Sequence[Transfer]) -> list[Booked]:
        """Book, each transfer once by its id. Raises FiscError when nobody knows what was booked."""
        ...

    async def standing(self, account_id: str) -> Standing | None:
        """Return how an account stands, None if there is none such. Raises FiscError."""
        ...

    async def place_hold(self, sweep: Sweep) -> HoldAnswer:
        """Set the sweep's amount aside, once by its id. Raises FiscError when nobody knows."""
        ...

    async def capture_hold(self, sweep: Sweep) -> HoldAnswer:
        """Move all that the sweep has set aside, once. Raises FiscError when nobody knows."""
        ...

    async def void_hold(self, sweep: Sweep) -> HoldAnswer:
        """Release the sweep's hold, or bar it from being placed. Raises FiscError when nobody knows."""
        ...


class Channels(Protocol):
    """The router."""

    async def list_channels(self) -> list[Channel]:
        """Return every channel. Raises FiscError."""
        ...


class Feed(Protocol):
    """The gateway's events."""

    async def catch_up(self) -> int:
        """Take in what has happened up to now; how many events that was. Raises FiscError."""
        ...
