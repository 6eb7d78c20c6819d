"""What a provider's folder says of it: `provider.py` there exports one PROVIDER, and nothing else has to be told.

Shared are the book, the clock, the exchange's rules, the faults at the gate and the deliveries; a provider adds a wire format.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import pydantic
from starlette.routing import BaseRoute

from services.sandbox.exchange import Exchange
from services.sandbox.fate import Habits
from services.sandbox.faults import FaultBoard
from services.sandbox.gate import Gate
from services.sandbox.notifier import Letter
from services.sandbox.records import Account, Callback


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the sandbox behaves; see the settings of the same names."""

    seed: str = "fisc"
    callback_backoff_s: Sequence[float] = (0.25, 1.0, 3.0, 10.0, 30.0)
    bill_ready_hour: int = 0
    bill_byte_order_mark: bool = True
    control_open: bool = False


class Terms(pydantic.BaseModel):
    """What a provider must be told of a merchant besides their number; each field is text."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all providers stand on."""

    exchange: Exchange
    gate: Gate
    faults: FaultBoard
    data_dir: Path
    """For a provider's own keys; files there begin with its name."""
    options: Options


class Player(Protocol):
    """One provider as it is played, for all its accounts."""

    def routes(self) -> Sequence[BaseRoute]:
        """What stands below `/<name of the provider>`."""
        ...

    async def letter(self, callback: Callback) -> Letter | None:
        """The signed notification of what the book says now; None when there is nothing to tell."""
        ...

    def probe(self, account: Account) -> Letter | None:
        """A notification that a careful receiver refuses; None where the provider sends none."""
        ...

    def introduction(self, account: Account) -> Mapping[str, str]:
        """What a merchant is told when they are registered, such as the provider's public key."""
        ...


@runtime_checkable
class Busy(Protocol):
    """A player that does something without being asked, such as looking into directories."""

    async def run(self) -> None:
        """For ever; cancel to stop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One wire protocol, played."""

    name: str
    terms: type[Terms]
    habits: Habits
    base_path: str
    """Where an account reaches it; may hold {account_id}."""
    play: Callable[[House], Player]
