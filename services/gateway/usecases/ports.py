"""What the use cases need of the world outside the gateway; clients.py and channels/ satisfy it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from libs.errors import FiscError
from libs.events.log import StoredEvent
from libs.saga.table import BacklogLine
from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import Connector
from services.gateway.domain.merchant import ChannelAccount
from services.gateway.domain.neighbours import (
    HoldOrder,
    LedgerAccount,
    RiskQuery,
    RiskVerdict,
    RouteQuery,
)
from services.gateway.domain.saga import Plan


class Risk(Protocol):
    async def evaluate(self, queries: Sequence[RiskQuery]) -> Sequence[RiskVerdict | FiscError]:
        """An answer for each, in order; errors of kind UNAVAILABLE when risk cannot be asked. Raises nothing."""
        ...

    async def case_state(self, case_id: str) -> str:
        """OPEN, APPROVED or REJECTED."""
        ...


class Router(Protocol):
    async def route(self, queries: Sequence[RouteQuery]) -> Sequence[Plan | FiscError]:
        """For each its channels, best first; empty when none fits. Falls back to what it knows while the router is away.

        Raises nothing.
        """
        ...


class Ledger(Protocol):
    async def open_accounts(self, accounts: Sequence[LedgerAccount]) -> None:
        """Idempotent. Raises a FiscError when an account cannot be opened."""
        ...

    async def place_hold(self, order: HoldOrder) -> str:
        """ "" when placed (now or before), else the reason it is refused. Raises FiscError when unknown."""
        ...


class Channels(Protocol):
    async def connector(self, channel_id: str) -> Connector:
        """Raises ChannelNotFound."""
        ...

    def check(self, account: ChannelAccount, credentials: Mapping[str, str]) -> None:
        """Raises ChannelMisconfigured for a row that no connector could be built from, MethodNotOffered."""
        ...

    def offers(self, channel_id: str, method: str, feature: Feature) -> bool:
        """Whether a channel is used for this method and can do this with it; of one not known here yet, yes."""
        ...

    async def renew(self, channel_id: str) -> None:
        """Its account has changed: build it anew."""
        ...


class Sealer(Protocol):
    """Keeps credentials unreadable at rest."""

    def seal(self, credentials: Mapping[str, str]) -> bytes: ...

    def unseal(self, sealed: bytes) -> dict[str, str]: ...


class Outbox(Protocol):
    """The event log as the pushers read it, and where each of them stands."""

    async def read_events(self, cursor: str, limit: int) -> list[StoredEvent]: ...

    async def get_cursor(self, consumer: str) -> str: ...

    async def move_cursor(self, consumer: str, before: str, after: str) -> str:
        """Moves it unless another replica has; answers where it stands."""
        ...


class Backlog(Protocol):
    """What the on-call's gauges show."""

    async def backlog(self) -> list[BacklogLine]: ...

    async def unknown_by_channel(self) -> dict[str, int]:
        """How many orders at each channel have no known outcome."""
        ...
