"""The platform's people: they take up what is quarantined, force what nobody knows the end of on what the channel's book says, and square what moved late, two by two."""

import asyncio
import itertools
from collections.abc import Mapping
from random import Random

from libs.errors import FiscError
from services.gateway.domain import authorization, saga
from services.gateway.domain.cases import Case
from services.gateway.domain.errors import CheckerIsMaker, ForceRefused
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
from tests.simulation.lateness import Late, late_of
from tests.simulation.neighbours import LedgerNode, bank_account
from tests.simulation.replica import Replica

FLOWS = ("payment", "capture", "refund", "payout")
STUCK_MAX = 200
FORCED_SHARE = 0.6
MAKER, CHECKER, OTHER_CHECKER = "op-maker", "op-checker", "op-other"
RESOLVED_SHARE = 0.5
_DECIDED_BY_EVIDENCE = frozenset(
    {saga.OUTCOME_UNKNOWN, saga.AMOUNT_MISMATCH, authorization.CAPTURED_UNASKED}
)
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "RETURNED"})


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
        ledger: LedgerNode,
    ) -> None:
        self.squared: set[str] = set()
        """Attempts whose late money people have moved back by themselves."""
        self.breaches: list[str] = []
        self._rng = rng
        self._chaos = chaos
        self._history = history
        self._database = database
        self._channels = channels
        self._clients = clients
        self._ledger = ledger
        self._numbers = itertools.count(1)

    async def look(self) -> None:
        """What is stuck is retried, forced, or left for the bills; what stands open although it has ended is squared."""
        for flow in FLOWS:

            async def stuck(replica: Replica, flow: str = flow) -> list[StuckLine]:
                return await replica.doors.stuck(flow, replica.clock.now(), STUCK_MAX)

            for line in await self._clients.until_answered(stuck):
                if line.why is Why.QUARANTINED:
                    await self._retry(line)
                elif line.reason in _DECIDED_BY_EVIDENCE and self._rng.random() < FORCED_SHARE:
                    await self._end(line)
        await self._resolve()

    async def _resolve(self) -> None:
        for case in list(self._database.cases.values()):
            is_open = case.closed_at is None and case.reason == saga.LATE_SUCCESS
            if is_open and self._has_ended(case) and self._rng.random() < RESOLVED_SHARE:
                self._square(case.subject_id)
                if await self._force(case.subject_id, saga.RESOLVED):
                    # What came meanwhile was under the same case.
                    self._square(case.subject_id)
        settled = [case for case in self._database.cases.values() if self._is_settled(case)]
        if settled:
            await self._resolve_again(self._rng.choice(settled))

    async def _resolve_again(self, case: Case) -> None:
        """Where no matter stands open, nobody resolves any."""
        try:
            await self._propose(case.subject_id, saga.RESOLVED)
        except ForceRefused:
            self._chaos.counts["resolved without a matter refused"] += 1
        else:
            if self._is_settled(case):
                self.breaches.append(f"I15 {case.subject_id} was resolved without a matter")

    def _is_settled(self, case: Case) -> bool:
        return self._has_ended(case) and self._database.open_case_of(case.subject_id) is None

    def _has_ended(self, case: Case) -> bool:
        rows = self._database.rows
        found = [rows[flow][case.subject_id] for flow in FLOWS if case.subject_id in rows[flow]]
        return any(row.state.value in _ENDED for row in found)

    def _square(self, matter_id: str) -> None:
        """Whoever has the money gives it back by a transfer, and that is booked by hand."""
        book = {ref: entry for each in self._channels.values() for ref, entry in each.book.items()}
        for late in list(late_of(self._database, book)):
            attempt_id = late.attempt.attempt_id
            if late.matter_id != matter_id or late.is_back or attempt_id in self.squared:
                continue
            self.squared.add(attempt_id)
            bank = bank_account(late.currency)
            sides = (bank, late.suspense) if late.has_left else (late.suspense, bank)
            self._ledger.book_by_hand(f"square-{attempt_id}", sides, late.amount_minor)
            self._history.add(late.subject_id, "people square it by a transfer of their own")

    async def _retry(self, line: StuckLine) -> None:
        async def retry(replica: Replica) -> object:
            return await replica.doors.retry(line.subject_id, replica.clock.now())

        self._history.add(line.subject_id, "a person has it tried again")
        self._chaos.counts["poison taken up again"] += 1
        await self._clients.until_answered(retry)

    async def _end(self, line: StuckLine) -> None:
        attempts = self._database.attempts_of(line.subject_id)
        to_state = self._evidence(line, attempts[-1]) if attempts else None
        if to_state is not None:
            await self._force(line.subject_id, to_state)

    async def _propose(self, subject_id: str, to_state: str) -> Force:
        request_id = f"force-{next(self._numbers)}"

        async def propose(replica: Replica) -> Force:
            return await replica.forcing.propose(
                subject_id,
                to_state=to_state,
                note="the channel's book",
                request_id=request_id,
                maker_id=MAKER,
            )

        return await self._clients.until_answered(propose)

    async def _force(self, subject_id: str, to_state: str) -> bool:
        """Whether two people have been at it; what came of it stands in the history."""
        try:
            force = await self._propose(subject_id, to_state)
        except FiscError as error:
            self._history.add(subject_id, f"a proposal is refused: {error.reason}")
            return False
        if self._rng.random() < 0.5:
            await self._approve_own(force)
        if self._rng.random() < 0.3:
            self._chaos.counts["two checkers at once"] += 1
            async with asyncio.TaskGroup() as group:
                for checker_id in (CHECKER, OTHER_CHECKER):
                    group.create_task(self._approve(force, checker_id))
            return True
        await self._approve(force, CHECKER)
        return True

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
        ordered = Entry(kind, attempt.out_ref, State.CLOSED, row.amount_minor, row.currency)
        ordered.payment_out_ref = getattr(row, "payment_out_ref", "")
        ordered.is_final = getattr(row, "is_final", False)
        channel.close_by_telephone(ordered)
        return "FAILED"

    def _evidence_on_hold(
        self, payment: Payment, channel: Channel, attempt: Attempt, entry: Entry | None
    ) -> str | None:
        """What captures took of it is known and late or not, or it waits for the bill that explains it."""
        late_minor = sum(
            late.amount_minor
            for late in late_of(self._database, channel.book)
            if late.flow == "capture" and self._payment_id(late) == payment.payment_id
        )
        taken_minor = 0 if entry is None else entry.captured_minor
        if payment.capturing_minor or taken_minor != payment.captured_minor + late_minor:
            return None
        ordered = Entry("charge", attempt.out_ref, State.CLOSED, currency=payment.currency)
        ordered.is_hold = True
        channel.close_by_telephone(ordered)
        return "SUCCEEDED" if payment.captured_minor else "CANCELED"

    def _payment_id(self, late: Late) -> str:
        payment_id: str = self._database.rows["capture"][late.subject_id].payment_id
        return payment_id
