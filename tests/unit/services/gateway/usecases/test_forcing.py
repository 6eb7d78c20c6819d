"""Squaring what no machine can: only where a case is open, and a repeated proposal answers what it answered."""

from typing import Any, cast

import pytest

from libs.audit import NewRecord
from libs.clock import FrozenClock
from services.gateway.domain.cases import Case
from services.gateway.domain.errors import ForceRefused, RequestIdReused, SubjectNotFound
from services.gateway.domain.forcing import Force, ForceState, SubjectFacts
from services.gateway.usecases.forcing import Forcing
from tests.unit.services.gateway.domain.orders import NOW

PAYOUT_ID = "pout_1"


class Store:
    """Proposals and cases."""

    def __init__(self) -> None:
        self.forces: dict[str, Force] = {}
        self.cases: list[Case] = []
        self.records: list[str] = []

    async def find_force(self, request_id: str) -> Force | None:
        return self.forces.get(request_id)

    async def get_force(self, force_id: str) -> Force | None:
        return next((each for each in self.forces.values() if each.force_id == force_id), None)

    async def add_force(self, force: Force, record: NewRecord) -> Force:
        if force.request_id not in self.forces:
            self.forces[force.request_id] = force
            self.records.append(record.action)
        return self.forces[force.request_id]

    async def write_decision(self, before: Force, after: Force, record: NewRecord) -> bool:
        if self.forces[before.request_id] != before:
            return False
        self.forces[before.request_id] = after
        self.records.append(record.action)
        return True

    async def is_superseded(self, force: Force) -> bool:
        return False

    async def cases_of(self, subject_id: str) -> list[Case]:
        return [each for each in self.cases if each.subject_id == subject_id]


class Payouts:
    """One payout that has failed, with what it is forced to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.state = "FAILED"
        self.forced: list[str] = []

    async def look(self, subject_id: str) -> SubjectFacts | None:
        if subject_id != PAYOUT_ID:
            return None
        return SubjectFacts(flow="payout", state=self.state, reason="", version=3, merchant_id="m")

    async def force(
        self, subject_id: str, *, to_state: str, from_state: str, from_reason: str
    ) -> int | None:
        if self.state == "MANUAL":
            raise ForceRefused(state=self.state, to_state=to_state)
        self.forced.append(to_state)
        self.store.cases = [closed(each) for each in self.store.cases]
        return 4


def case(subject_id: str = PAYOUT_ID) -> Case:
    return Case(
        case_id="case_1",
        subject_id=subject_id,
        merchant_id="m",
        reason="LATE_SUCCESS",
        opened_at=NOW,
        closed_at=None,
        resolution="",
    )


def closed(each: Case) -> Case:
    return Case(**{**{name: getattr(each, name) for name in Case.__slots__}, "closed_at": NOW})


class Numbers:
    """Ids."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}_{self.count}"


class House:
    """Maker and checker at work."""

    def __init__(self, *cases: Case) -> None:
        self.store = Store()
        self.store.cases = list(cases)
        self.payouts = Payouts(self.store)
        self.forcing = Forcing(
            store=cast(Any, self.store),
            flows={"payout": self.payouts},
            clock=FrozenClock(NOW),
            ids=cast(Any, Numbers()),
        )

    async def propose(self, request_id: str = "r1", **changes: str) -> Force:
        wish = {"to_state": "RESOLVED", "note": "came back by hand", "maker_id": "maker"}
        return await self.forcing.propose(PAYOUT_ID, request_id=request_id, **wish | changes)

    async def approve(self, force: Force) -> Force:
        return await self.forcing.decide(
            force.force_id, is_approved=True, note="", checker_id="checker"
        )


@pytest.mark.parametrize("cases", [(), (closed(case()),), (case("pout_2"),)])
async def test_nothing_is_squared_of_which_no_case_is_open(cases: tuple[Case, ...]) -> None:
    house = House(*cases)

    with pytest.raises(ForceRefused):
        await house.propose()

    assert (house.store.forces, house.store.records) == ({}, [])


async def test_an_end_can_be_proposed_of_what_has_no_case() -> None:
    house = House()

    assert (await house.propose(to_state="SUCCEEDED")).state is ForceState.PROPOSED


async def test_two_people_square_an_open_case_and_a_new_wish_finds_none() -> None:
    house = House(closed(case()), case())

    applied = await house.approve(await house.propose())

    assert (applied.state, house.payouts.forced) == (ForceState.APPLIED, ["RESOLVED"])
    assert house.store.records == ["FORCE_PROPOSED", "FORCE_APPROVED", "FORCE_APPLIED"]
    with pytest.raises(ForceRefused):
        await house.propose("r2")


async def test_a_proposal_repeated_after_its_case_was_closed_answers_what_became_of_it() -> None:
    house = House(case())
    applied = await house.approve(await house.propose())

    assert await house.propose() == applied
    assert house.payouts.forced == ["RESOLVED"]
    with pytest.raises(RequestIdReused):
        await house.propose(note="another wish")


async def test_an_approval_that_a_crash_cut_off_is_completed_by_its_repetition() -> None:
    house = House(case())
    proposed = await house.propose()
    plain_write, writes = house.store.write_decision, 0

    async def dies_at_the_second(before: Force, after: Force, record: NewRecord) -> bool:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise ConnectionResetError
        return await plain_write(before, after, record)

    house.store.write_decision = dies_at_the_second  # type: ignore[method-assign]  # a crash
    with pytest.raises(ConnectionResetError):
        await house.approve(proposed)

    assert (await house.approve(proposed)).state is ForceState.APPLIED


async def test_what_still_waits_for_its_end_cannot_be_squared_and_the_proposal_is_rejected() -> (
    None
):
    house = House(case())
    house.payouts.state = "MANUAL"
    proposed = await house.propose()

    with pytest.raises(ForceRefused):
        await house.approve(proposed)

    assert house.store.forces["r1"].state is ForceState.REJECTED


async def test_what_is_not_there_has_no_case() -> None:
    with pytest.raises(SubjectNotFound):
        await House().forcing.propose(
            "pout_9", to_state="RESOLVED", note="", request_id="r1", maker_id="maker"
        )
