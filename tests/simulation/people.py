"""The platform's people: they take up what is quarantined, and force what nobody knows the end of, two by two, on what the channel's book says."""

import asyncio
import itertools
from collections.abc import Mapping
from random import Random

from libs.errors import FiscError
from services.gateway.domain import follow_up, saga
from services.gateway.domain.errors import CheckerIsMaker
from services.gateway.domain.forcing import Force, ForceState
from services.gateway.domain.payment import Payment
from services.gateway.domain.saga import Attempt
from services.gateway.domain.stuck import StuckLine, Why
from tests.simulation.book import Entry, State
from tests.simulation.channels import Channel
from tests.simulation.chaos import Chaos
from tests.simulation.clients import Clients
from tests.simulation.database import Database
from tests.simulation.history import History
from tests.simulation.replica import Replica

FLOWS = ("payment", "capture", "refund", "payout")
STUCK_MAX = 200
FORCED_SHARE = 0.6
MAKER, CHECKER, OTHER_CHECKER = "op-maker", "op-checker", "op-other"
_DECIDED_BY_EVIDENCE = frozenset({saga.OUTCOME_UNKNOWN, follow_up.LATE_SUCCESS})


class People:
    """Operators, in the morning."""

    def __init__(
        self,
        *,
        rng: Random,
        chaos: Chaos,
        history: History,
        database: Database,
        channels: Mapping[str, Channel],
        clients: Clients,
    ) -> None:
        self.breaches: list[str] = []
        self._rng = rng
        self._chaos = chaos
        self._history = history
        self._database = database
        self._channels = channels
        self._clients = clients
        self._numbers = itertools.count(1)

    async def look(self) -> None:
        """What is stuck is retried, forced, or left for the bills."""
        for flow in FLOWS:

            async def stuck(replica: Replica, flow: str = flow) -> list[StuckLine]:
                return await replica.doors.stuck(flow, replica.clock.now(), STUCK_MAX)

            for line in await self._clients.until_answered(stuck):
                if line.why is Why.QUARANTINED:
                    await self._retry(line)
                elif line.reason in _DECIDED_BY_EVIDENCE and self._rng.random() < FORCED_SHARE:
                    await self._force(line)

    async def _retry(self, line: StuckLine) -> None:
        async def retry(replica: Replica) -> object:
            return await replica.doors.retry(line.subject_id, replica.clock.now())

        self._history.add(line.subject_id, "a person has it tried again")
        self._chaos.counts["poison taken up again"] += 1
        await self._clients.until_answered(retry)

    async def _force(self, line: StuckLine) -> None:
        attempts = self._database.attempts_of(line.subject_id)
        to_state = self._evidence(line, attempts[-1]) if attempts else None
        if to_state is None:
            return
        request_id = f"force-{next(self._numbers)}"

        async def propose(replica: Replica) -> Force:
            return await replica.forcing.propose(
                line.subject_id,
                to_state=to_state,
                note="the channel's book",
                request_id=request_id,
                maker_id=MAKER,
            )

        try:
            force = await self._clients.until_answered(propose)
        except FiscError as error:
            self._history.add(line.subject_id, f"a proposal is refused: {error.reason}")
            return
        if self._rng.random() < 0.5:
            await self._approve_own(force)
        if self._rng.random() < 0.3:
            self._chaos.counts["two checkers at once"] += 1
            async with asyncio.TaskGroup() as group:
                for checker_id in (CHECKER, OTHER_CHECKER):
                    group.create_task(self._approve(force, checker_id))
            return
        await self._approve(force, CHECKER)

    async def _approve_own(self, force: Force) -> None:
        try:
            await self._decide(force, MAKER)
        except CheckerIsMaker:
            self._chaos.counts["forced by one person refused"] += 1
        else:
            self.breaches.append(f"I15 {force.maker_id} has checked {force.force_id} alone")

    async def _approve(self, force: Force, checker_id: str) -> None:
        try:
            decided = await self._decide(force, checker_id)
        except FiscError as error:
            self._history.add(force.subject_id, f"{checker_id} is refused: {error.reason}")
            return
        self._history.add(force.subject_id, f"{checker_id} approves: {decided.state.value}")
        self._chaos.counts["forced by two people"] += decided.state is ForceState.APPLIED

    async def _decide(self, force: Force, checker_id: str) -> Force:
        async def decide(replica: Replica) -> Force:
            return await replica.forcing.decide(
                force.force_id, is_approved=True, note="seen", checker_id=checker_id
            )

        return await self._clients.until_answered(decide)

    def _evidence(self, line: StuckLine, attempt: Attempt) -> str | None:
        """How the channel's people say it ended; what they have not done they promise never to do. None: another day."""
        row = self._database.rows[line.flow][line.subject_id]
        channel = self._channels[attempt.channel_id]
        entry = channel.book.get(attempt.out_ref)
        if isinstance(row, Payment) and row.capture_later:
            return self._evidence_on_hold(row, channel, attempt, entry)
        if entry is not None and entry.state in {State.PAID, State.RETURNED}:
            return "SUCCEEDED" if entry.amount_minor == row.amount_minor else None
        kind = "charge" if line.flow == "payment" else line.flow
        channel.close_by_telephone(attempt.out_ref, kind)
        return "FAILED"

    def _evidence_on_hold(
        self, payment: Payment, channel: Channel, attempt: Attempt, entry: Entry | None
    ) -> str | None:
        if payment.captured_minor or payment.capturing_minor:
            return None
        if entry is not None and entry.captured_minor:
            return None
        channel.close_by_telephone(attempt.out_ref, "charge")
        return "CANCELED"
