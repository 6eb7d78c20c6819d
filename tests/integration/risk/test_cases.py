"""Cases over gRPC: a person decides, the feed tells."""

import asyncio

from fisc.risk.v1 import risk_pb2 as pb
from libs.errors import ErrorKind
from tests.integration.risk.support import (
    ALLOW,
    DENY,
    REVIEW,
    Fixture,
    day_limit,
    entry,
    evaluation,
    rule,
)


async def open_case(risk: Fixture, evaluation_id: str = "eval_1") -> str:
    """A case of customer c-1, who is watched."""
    await risk.add(entry(pb.LIST_NAME_WATCH))
    decision = await risk.evaluate(evaluation(evaluation_id, subject_id="pay_1"))
    assert decision.verdict == REVIEW
    return decision.case_id


async def payloads(risk: Fixture) -> list[tuple[str, pb.Case]]:
    """Type and payload of all events."""
    told = []
    for event in await risk.events():
        case = pb.Case()
        assert event.payload.Unpack(case)
        assert (event.subject_id, event.merchant_id) == (case.case_id, "m-1")
        told.append((event.type, case))
    return told


async def test_a_review_opens_a_case_and_an_approval_is_told(risk: Fixture) -> None:
    case_id = await open_case(risk)
    opened = (await risk.call(risk.stub.GetCase, pb.GetCaseRequest(case_id=case_id))).case
    assert opened.state == pb.Case.STATE_OPEN
    assert opened.evaluation == evaluation("eval_1", subject_id="pay_1")
    assert opened.fired_rules[0].rule_id == "watch-list"
    risk.clock.advance(60)
    approved = await risk.decide(case_id, approved=True)
    assert approved.state == pb.Case.STATE_APPROVED
    assert (approved.decided_by, approved.note) == ("risk-officer", "looked at it")
    assert approved.decided_at.seconds - approved.opened_at.seconds == 60
    assert await payloads(risk) == [("case.opened", opened), ("case.approved", approved)]


async def test_a_rejection_is_told_and_gives_the_day_amount_back_once(risk: Fixture) -> None:
    await risk.upsert(rule("day", day_limit=day_limit(1_000)))
    case_id = await open_case(risk)
    assert (await risk.evaluate(evaluation("eval_2"))).verdict == DENY
    rejected = await risk.decide(case_id, approved=False)
    assert rejected.state == pb.Case.STATE_REJECTED
    assert [kind for kind, _ in await payloads(risk)] == ["case.opened", "case.rejected"]
    assert (await risk.evaluate(evaluation("eval_3"))).verdict == REVIEW
    assert await risk.outcomes(False, "eval_1") == 1
    assert (await risk.evaluate(evaluation("eval_4"))).verdict == DENY


async def test_a_decision_stands_and_a_repetition_has_no_effect(risk: Fixture) -> None:
    case_id = await open_case(risk)
    first = await risk.decide(case_id, approved=True, request_id="r-1")
    risk.clock.advance(5)
    assert await risk.decide(case_id, approved=True, request_id="r-1") == first
    assert await risk.decide(case_id, approved=True, request_id="r-2") == first
    otherwise = pb.DecideCaseRequest(
        request_id="r-3", case_id=case_id, approved=False, actor="risk-officer"
    )
    error = await risk.refusal(risk.stub.DecideCase, otherwise)
    assert (error.kind, error.reason) == (ErrorKind.REJECTED, "CASE_ALREADY_DECIDED")
    assert len(await risk.events()) == 2


async def test_two_people_who_decide_at_once_do_not_both_win(risk: Fixture) -> None:
    case_id = await open_case(risk)

    async def attempt(*, approved: bool) -> str:
        request = pb.DecideCaseRequest(
            request_id=f"r-{approved}", case_id=case_id, approved=approved, actor="someone"
        )
        try:
            decided = (await risk.call(risk.stub.DecideCase, request)).case
        except Exception as error:  # noqa: BLE001 -- the reason is asserted below
            return str(getattr(error, "reason", error))
        return pb.Case.State.Name(decided.state)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(approved=choice)) for choice in (True, False)]
    results = {task.result() for task in tasks}
    assert "CASE_ALREADY_DECIDED" in results
    assert len(await risk.events()) == 2


async def test_a_decision_needs_a_name_and_an_existing_case(risk: Fixture) -> None:
    case_id = await open_case(risk)
    nobody = pb.DecideCaseRequest(request_id="r-1", case_id=case_id, approved=True, actor="  ")
    error = await risk.refusal(risk.stub.DecideCase, nobody)
    assert (error.reason, error.field) == ("ACTOR_REQUIRED", "actor")
    unknown = pb.DecideCaseRequest(request_id="r-1", case_id="case_x", approved=True, actor="a")
    error = await risk.refusal(risk.stub.DecideCase, unknown)
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "CASE_NOT_FOUND")
    error = await risk.refusal(risk.stub.GetCase, pb.GetCaseRequest(case_id="case_\0"))
    assert (error.kind, error.reason) == (ErrorKind.INVALID, "INVALID_ARGUMENT")


async def test_cases_come_oldest_first_in_pages_and_by_state(risk: Fixture) -> None:
    await risk.add(entry(pb.LIST_NAME_WATCH))
    case_ids = []
    for number in range(5):
        case_ids.append((await risk.evaluate(evaluation(f"eval_{number}"))).case_id)
        risk.clock.advance(1)
    await risk.decide(case_ids[1], approved=True)

    async def listed(state: pb.Case.State.ValueType) -> list[str]:
        found: list[str] = []
        token = ""
        while token or not found:
            page = await risk.call(
                risk.stub.ListCases, pb.ListCasesRequest(state=state, page_size=2, page_token=token)
            )
            found += [case.case_id for case in page.cases]
            token = page.next_page_token
            if not token:
                break
        return found

    assert await listed(pb.Case.STATE_UNSPECIFIED) == case_ids
    assert await listed(pb.Case.STATE_OPEN) == [case_ids[0], *case_ids[2:]]
    assert await listed(pb.Case.STATE_APPROVED) == [case_ids[1]]
    assert (await risk.evaluate(evaluation("other", customer_id="c-2"))).verdict == ALLOW
