"""What the use cases need of others; `clients` and `workers` fit these by their shape."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Protocol

from services.clearing.domain.model import BillFile, Channel
from services.clearing.domain.settlement import Booked, Transfer


class Bills(Protocol):
    """The gateway's way to the channels' bills."""

    async def fetch(self, channel_id: str, day: date) -> BillFile:
        """Return the raw bill. Raises FiscError; reason BILL_NOT_READY when it is too early."""
        ...


class Ledger(Protocol):
    """The account service."""

    async def open_platform_accounts(self, currencies: Collection[str]) -> None:
        """Open our own accounts in these currencies; idempotent. Raises FiscError."""
        ...

    async def post(self, transfers: Sequence[Transfer]) -> list[Booked]:
        """Book, each transfer once by its id. Raises FiscError when nobody knows what was booked."""
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
