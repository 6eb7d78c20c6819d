"""Operators' keys, and the steps they force."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from fisc.gateway.v1 import operations_pb2 as pb
from libs.errors import RemoteError
from services.gateway.domain import saga
from tests.integration.gateway.desk import Desk, Metadata, add_case, bearer, open_desk, refusal, two

F = pb.Force
FreshDatabase = Callable[[str], Awaitable[str]]


@pytest.fixture
async def desk(fresh_database: FreshDatabase) -> AsyncIterator[Desk]:
    async with open_desk(await fresh_database("gateway")) as opened:
        yield opened


async def test_a_persons_key_opens_the_operators_service(desk: Desk) -> None:
    maker = await desk.hire("maker")

    answer = await desk.call("ListForces", pb.ListForcesRequest, maker)

    assert list(answer.forces) == []


@pytest.mark.parametrize(
    "credential", ["", "nonsense", "fo.opk_unknown.secret", "fo..", "fk.key_1.secret"]
)
async def test_what_is_no_key_is_refused(desk: Desk, credential: str) -> None:
    call = desk.call("ListForces", pb.ListForcesRequest, bearer(credential))

    assert await refusal(call) == "OPERATOR_TOKEN_INVALID"


async def test_a_key_with_another_secret_is_refused(desk: Desk) -> None:
    [(name, value)] = await desk.hire("maker")
    forged = ((name, value[:-1] + ("a" if value[-1] != "a" else "b")),)

    assert await refusal(desk.call("ListForces", pb.ListForcesRequest, forged)) == (
        "OPERATOR_TOKEN_INVALID"
    )


async def test_a_revoked_key_is_refused_by_the_very_next_call(desk: Desk) -> None:
    maker = await desk.hire("maker")
    await desk.call("ListForces", pb.ListForcesRequest, maker)

    await desk.call("RevokeOperator", pb.RevokeOperatorRequest, operator_id="maker")

    assert await refusal(desk.call("ListForces", pb.ListForcesRequest, maker)) == (
        "OPERATOR_TOKEN_INVALID"
    )


async def test_a_person_has_one_key_and_may_get_another_after_revoking(desk: Desk) -> None:
    create = pb.CreateOperatorRequest
    first = await desk.call("CreateOperator", create, operator_id="maker", request_id="r-1")
    again = desk.call("CreateOperator", create, operator_id="maker", request_id="r-1")
    another = desk.call("CreateOperator", create, operator_id="maker", request_id="r-2")
    reasons = [await refusal(again), await refusal(another)]

    for _ in range(2):
        await desk.call("RevokeOperator", pb.RevokeOperatorRequest, operator_id="maker")
    second = await desk.hire("maker")

    assert reasons == ["REQUEST_ID_REUSED", "OPERATOR_EXISTS"]
    assert bearer(first.operator_key) != second
    assert [action for _, action, _ in await desk.deeds()] == [
        "OPERATOR_CREATED",
        "OPERATOR_REVOKED",
        "OPERATOR_CREATED",
    ]


async def test_nobody_can_revoke_a_stranger(desk: Desk) -> None:
    revoke = desk.call("RevokeOperator", pb.RevokeOperatorRequest, operator_id="nobody")

    assert await refusal(revoke) == "OPERATOR_NOT_FOUND"


async def test_only_the_platform_lets_people_in_and_out(desk: Desk) -> None:
    maker = await desk.hire("maker")
    create = desk.call("CreateOperator", pb.CreateOperatorRequest, maker, operator_id="checker")
    revoke = desk.call("RevokeOperator", pb.RevokeOperatorRequest, maker, operator_id="maker")

    assert [await refusal(create), await refusal(revoke)] == ["PLATFORM_TOKEN_REQUIRED"] * 2


async def test_the_platforms_token_is_nobody_where_a_person_must_answer_for_it(desk: Desk) -> None:
    payment_id = desk.flows["payment"].add("pay_1")
    force = await desk.propose(await desk.hire("maker"), payment_id)
    calls = (
        desk.propose(desk.platform, payment_id),
        desk.decide(desk.platform, force.force_id),
        desk.call("RetrySaga", pb.RetrySagaRequest, subject_id=payment_id),
    )

    assert [await refusal(call) for call in calls] == ["OPERATOR_KEY_REQUIRED"] * 3
    assert desk.flows["payment"].forces == 0


async def test_what_one_proposes_and_another_approves_is_carried_out_once(desk: Desk) -> None:
    maker, checker = await two(desk)
    payment_id = desk.flows["payment"].add("pay_1")

    proposed = await desk.propose(maker, payment_id, request_id="p-1")
    same = await desk.propose(maker, payment_id, request_id="p-1")
    untouched = desk.flows["payment"].subjects[payment_id].state
    applied = await desk.decide(checker, proposed.force_id)
    again = await desk.decide(checker, proposed.force_id)

    assert same == proposed
    assert untouched == "MANUAL"
    assert (applied.state, applied.maker_id, applied.checker_id) == (
        F.STATE_APPLIED,
        "maker",
        "checker",
    )
    assert again == applied
    assert desk.flows["payment"].forces == 1
    assert (await desk.deeds())[2:] == [
        ("maker", "FORCE_PROPOSED", payment_id),
        ("checker", "FORCE_APPROVED", payment_id),
        ("checker", "FORCE_APPLIED", payment_id),
    ]
    assert (await desk.verdict()).first_broken_number == 0


async def test_a_request_id_proposes_one_thing_only(desk: Desk) -> None:
    maker, _ = await two(desk)
    payment_id = desk.flows["payment"].add("pay_1")
    await desk.propose(maker, payment_id, request_id="p-1")

    other = desk.propose(maker, payment_id, "FAILED", request_id="p-1")

    assert await refusal(other) == "REQUEST_ID_REUSED"


async def test_the_maker_cannot_approve_his_own_proposal(desk: Desk) -> None:
    maker, _ = await two(desk)
    force = await desk.propose(maker, desk.flows["payment"].add("pay_1"))

    assert await refusal(desk.decide(maker, force.force_id)) == "CHECKER_IS_MAKER"
    assert desk.flows["payment"].forces == 0


async def test_a_rejected_proposal_is_never_carried_out(desk: Desk) -> None:
    maker, checker = await two(desk)
    force = await desk.propose(maker, desk.flows["payment"].add("pay_1"))

    rejected = await desk.decide(checker, force.force_id, is_approved=False)
    repeated = await desk.decide(checker, force.force_id, is_approved=False)
    then_approved = desk.decide(checker, force.force_id)

    assert rejected == repeated
    assert rejected.state == F.STATE_REJECTED
    assert await refusal(then_approved) == "FORCE_ALREADY_DECIDED"
    assert desk.flows["payment"].forces == 0


async def test_a_proposal_whose_subject_has_moved_is_stale(desk: Desk) -> None:
    maker, checker = await two(desk)
    payment_id = desk.flows["payment"].add("pay_1")
    force = await desk.propose(maker, payment_id)
    desk.flows["payment"].move(payment_id, "SUCCEEDED")

    decided = await desk.decide(checker, force.force_id)

    assert decided.state == F.STATE_STALE
    assert desk.flows["payment"].forces == 0
    assert (await desk.deeds())[-1] == ("checker", "FORCE_STALE", payment_id)


async def test_of_two_proposals_about_one_subject_the_second_is_stale(desk: Desk) -> None:
    maker, checker = await two(desk)
    payment_id = desk.flows["payment"].add("pay_1")
    first, second = [await desk.propose(maker, payment_id) for _ in range(2)]

    states = [(await desk.decide(checker, each.force_id)).state for each in (first, second)]

    assert states == [F.STATE_APPLIED, F.STATE_STALE]


async def test_what_the_flow_refuses_is_rejected_with_its_reason(desk: Desk) -> None:
    maker, checker = await two(desk)
    payment_id = desk.flows["payment"].add("pay_1")
    force = await desk.propose(maker, payment_id)
    desk.flows["payment"].refuses = True

    assert await refusal(desk.decide(checker, force.force_id)) == "FORCE_REFUSED"

    listed = await desk.call("ListForces", pb.ListForcesRequest, state=F.STATE_REJECTED)
    assert [each.force_id for each in listed.forces] == [force.force_id]
    assert (await desk.deeds())[-1] == ("checker", "FORCE_REFUSED", payment_id)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("finisher", ["checker", "third"])
async def test_a_crash_between_the_force_and_its_mark_is_mended_by_deciding_again(
    desk: Desk, finisher: str, refuses: bool
) -> None:
    """Whether the flow says that it has moved, or that what has ended cannot be forced."""
    maker, checker = await two(desk)
    third = await desk.hire("third")
    payments = desk.flows["payment"]
    force = await desk.propose(maker, payments.add("pay_1"))
    payments.crashes_after_force = True
    with pytest.raises(RemoteError):
        await desk.decide(checker, force.force_id)
    payments.refuses = refuses
    too_late = await refusal(desk.decide(third, force.force_id, is_approved=False))

    mended = await desk.decide(checker if finisher == "checker" else third, force.force_id)

    assert too_late == "FORCE_ALREADY_DECIDED"
    assert (mended.state, mended.checker_id, payments.forces) == (F.STATE_APPLIED, "checker", 1)
    assert [action for _, action, _ in await desk.deeds()][-3:] == [
        "FORCE_PROPOSED",
        "FORCE_APPROVED",
        "FORCE_APPLIED",
    ]


async def test_of_an_approval_and_a_rejection_at_once_one_counts(desk: Desk) -> None:
    maker, checker = await two(desk)
    third = await desk.hire("third")
    payments = desk.flows["payment"]
    made = [await desk.propose(maker, payments.add(f"pay_{number}")) for number in range(8)]

    async def decide(who: Metadata, force_id: str, *, is_approved: bool) -> None:
        with contextlib.suppress(RemoteError):
            await desk.decide(who, force_id, is_approved=is_approved)

    async with asyncio.TaskGroup() as group:
        for force in made:
            group.create_task(decide(checker, force.force_id, is_approved=True))
            group.create_task(decide(third, force.force_id, is_approved=False))

    listed = await desk.call("ListForces", pb.ListForcesRequest)
    for force in listed.forces:
        is_forced = payments.subjects[force.subject_id].reason == saga.FORCED
        assert (force.state, force.checker_id) == (
            (F.STATE_APPLIED, "checker") if is_forced else (F.STATE_REJECTED, "third")
        )
    assert (await desk.verdict()).first_broken_number == 0


@pytest.mark.parametrize("subject_id", ["pay_unknown", "mer_1", "nonsense"])
async def test_what_does_not_exist_can_be_neither_forced_nor_retried(
    desk: Desk, subject_id: str
) -> None:
    maker, checker = await two(desk)
    retry = desk.call("RetrySaga", pb.RetrySagaRequest, maker, subject_id=subject_id)

    assert await refusal(desk.propose(maker, subject_id)) == "SUBJECT_NOT_FOUND"
    assert await refusal(retry) == "SUBJECT_NOT_FOUND"
    assert await refusal(desk.decide(checker, "for_unknown")) == "FORCE_NOT_FOUND"


@pytest.mark.parametrize(
    ("flow", "subject_id", "to_state"),
    [
        ("payment", "pay_1", "RETURNED"),
        ("capture", "cap_1", "CANCELED"),
        ("payout", "pout_1", "MANUAL"),
    ],
)
async def test_a_state_that_is_no_end_of_the_flow_cannot_be_proposed(
    desk: Desk, flow: str, subject_id: str, to_state: str
) -> None:
    maker, _ = await two(desk)
    desk.flows[flow].add(subject_id)

    assert await refusal(desk.propose(maker, subject_id, to_state)) == "FORCE_REFUSED"


async def test_an_open_case_of_what_has_ended_is_closed_by_two_people(desk: Desk) -> None:
    maker, checker = await two(desk)
    payout_id = desk.flows["payout"].add("pout_1", state="FAILED")
    await add_case(desk, 1, subject_id=payout_id)

    proposed = await desk.propose(maker, payout_id, "RESOLVED", request_id="p-1")
    applied = await desk.decide(checker, proposed.force_id)
    again = await desk.decide(checker, proposed.force_id)

    assert (applied.state, applied.to_state) == (F.STATE_APPLIED, "RESOLVED")
    assert again == applied
    assert desk.flows["payout"].resolved == [payout_id]
    assert desk.flows["payout"].subjects[payout_id].state == "FAILED"
    assert (await desk.deeds())[2:] == [
        ("maker", "FORCE_PROPOSED", payout_id),
        ("checker", "FORCE_APPROVED", payout_id),
        ("checker", "FORCE_APPLIED", payout_id),
    ]


@pytest.mark.parametrize("closed", [True, None])
async def test_nothing_is_resolved_where_no_case_is_open(desk: Desk, closed: bool | None) -> None:
    maker, _ = await two(desk)
    refund_id = desk.flows["refund"].add("ref_1", state="FAILED")
    if closed:
        await add_case(desk, 1, subject_id=refund_id, closed=True)

    assert await refusal(desk.propose(maker, refund_id, "RESOLVED")) == "FORCE_REFUSED"
    assert await desk.store.list_forces("", "", 10) == []


async def test_a_proposal_to_resolve_is_answered_alike_after_its_case_is_closed(desk: Desk) -> None:
    maker, checker = await two(desk)
    refund_id = desk.flows["refund"].add("ref_1", state="FAILED")
    await add_case(desk, 1, subject_id=refund_id)
    proposed = await desk.propose(maker, refund_id, "RESOLVED", request_id="p-1")
    await desk.decide(checker, proposed.force_id)
    await desk.pool.execute("UPDATE manual_case SET closed_at = now(), resolution = 'RESOLVED'")

    again = await desk.propose(maker, refund_id, "RESOLVED", request_id="p-1")

    assert again.force_id == proposed.force_id
    assert again.state == F.STATE_APPLIED


async def test_what_has_not_ended_cannot_be_resolved(desk: Desk) -> None:
    maker, checker = await two(desk)
    payment_id = desk.flows["payment"].add("pay_1")
    await add_case(desk, 1, subject_id=payment_id)
    force = await desk.propose(maker, payment_id, "RESOLVED")

    assert await refusal(desk.decide(checker, force.force_id)) == "FORCE_REFUSED"
    assert desk.flows["payment"].subjects[payment_id].state == "MANUAL"


async def test_proposals_are_paged_newest_first_and_by_state(desk: Desk) -> None:
    maker, checker = await two(desk)
    made = [await desk.propose(maker, desk.flows["payment"].add(f"pay_{n}")) for n in range(3)]
    await desk.decide(checker, made[1].force_id)

    first = await desk.call("ListForces", pb.ListForcesRequest, page_size=2)
    rest = await desk.call(
        "ListForces", pb.ListForcesRequest, page_size=2, page_token=first.next_page_token
    )
    waiting = await desk.call("ListForces", pb.ListForcesRequest, state=F.STATE_PROPOSED)

    assert [each.subject_id for each in first.forces] == ["pay_2", "pay_1"]
    assert [each.subject_id for each in rest.forces] == ["pay_0"]
    assert rest.next_page_token == ""
    assert [each.subject_id for each in waiting.forces] == ["pay_2", "pay_0"]
