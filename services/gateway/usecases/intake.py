"""Where new payments and payouts come in: what arrives together is screened together and written in one commit.

The wait for company is spent here, once: a message or a commit of many costs little more than one of one, and what came in together goes
on together.
"""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from libs.batching.coalescer import Coalescer
from libs.errors import FiscError
from libs.saga.driver import Driver
from libs.saga.drives import Drives
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.neighbours import RiskQuery, RiskVerdict, RouteQuery
from services.gateway.domain.saga import Attempt, Plan, Step
from services.gateway.store.sagas import Subject
from services.gateway.usecases.screening import Screening

# Batches under way at once: a peer that hangs must not make the next batch wait its turn.
BATCHES_AT_ONCE = 4
# Under load a batch waits as long as one takes, and for the batch before it; never longer than a payer would notice.
LINGER_MAX_S = 0.05

S = TypeVar("S", bound=Subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Generic[S]):
    """One operation that wants to come in."""

    merchant: Merchant
    fingerprint: str
    """Of what was asked: what stands under the same identity must have come with the same."""
    risk_query: RiskQuery
    route_query: RouteQuery
    open: Callable[[RiskVerdict, Plan], Step[S, Attempt]]
    """Its first step, once it is known what risk and router say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken(Generic[S]):
    """What stands under its identity now."""

    subject: S
    is_new: bool
    drive: "asyncio.Task[S] | None"
    """What carries it on, where it is new and has something to do; it goes on whether or not anybody waits for it."""


# With the context of its call: what is logged and sent on for it carries the call's request id.
_Asked: TypeAlias = tuple[Ask[S], contextvars.Context]


class Intake(Generic[S]):
    """One flow's. `coalescer` must be started by its owner."""

    def __init__(
        self, *, screening: Screening, driver: Driver[S, Attempt], drives: Drives, name: str
    ) -> None:
        self._screening = screening
        self._driver = driver
        self._drives = drives
        self.coalescer = Coalescer[_Asked[S], Taken[S]](
            self._take,
            name=f"intake-{name}",
            workers=BATCHES_AT_ONCE,
            linger_max_s=LINGER_MAX_S,
            lane=_merchant_of,
        )

    async def take(self, ask: Ask[S]) -> Taken[S]:
        """Idempotent by the subject's identity. Raises RequestIdReused, Overloaded, and FiscErrors of kind UNAVAILABLE."""
        return await self.coalescer.submit((ask, contextvars.copy_context()))

    async def take_all(self, asks: Sequence[Ask[S]]) -> list[Taken[S] | BaseException]:
        """Takes what came in one call as one batch: nothing waits for company, which is here already.

        An exception for each that was refused alone, in their order. Raises what `create_all` raises.
        """
        context = contextvars.copy_context()
        return await self._take([(ask, context) for ask in asks])

    async def _take(self, asked: Sequence[_Asked[S]]) -> list[Taken[S] | BaseException]:
        screened = await self._screening.screen(
            [(ask.merchant, ask.risk_query, ask.route_query) for ask, _ in asked]
        )
        steps = [
            ask.open(*answer)
            for (ask, _), answer in zip(asked, screened, strict=True)
            if not isinstance(answer, FiscError)
        ]
        written = iter(zip(steps, await self._driver.create_all(steps), strict=True))
        return [
            answer if isinstance(answer, FiscError) else context.run(self._taken, *next(written))
            for (_, context), answer in zip(asked, screened, strict=True)
        ]

    def _taken(self, step: Step[S, Attempt], stored: S | BaseException) -> Taken[S] | BaseException:
        if isinstance(stored, BaseException):
            return stored
        is_new = self._driver.is_same(stored, step.subject)
        drive = None
        if is_new and step.command is not None:
            drive = self._drives.start(self._driver.drive(step))
        return Taken(subject=stored, is_new=is_new, drive=drive)


def _merchant_of(asked: "_Asked[Any]") -> str:
    return asked[0].merchant.merchant_id
