"""What operators look at: what is stuck, the cases, and the chain of what they did."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from fisc.gateway.v1 import operations_pb2 as pb
from tests.integration.gateway.desk import NOW, Desk, add_case, open_desk, refusal, two

FreshDatabase = Callable[[str], Awaitable[str]]


@pytest.fixture
async def desk(fresh_database: FreshDatabase) -> AsyncIterator[Desk]:
    async with open_desk(await fresh_database("gateway")) as opened:
        yield opened


async def test_what_is_stuck_is_listed_for_all_flows_or_one(desk: Desk) -> None:
    desk.flows["payment"].add("pay_1")
    desk.flows["payment"].add("pay_2", state="SUCCEEDED")
    desk.flows["payout"].add("pout_1")

    every = await desk.call("ListStuckSagas", pb.ListStuckSagasRequest)
    payouts = await desk.call("ListStuckSagas", pb.ListStuckSagasRequest, flow="payout")
    first = await desk.call("ListStuckSagas", pb.ListStuckSagasRequest, page_size=1)
    unknown = desk.call("ListStuckSagas", pb.ListStuckSagasRequest, flow="nonsense")

    assert [each.subject_id for each in every.sagas] == ["pay_1", "pout_1"]
    assert [(each.subject_id, each.why) for each in payouts.sagas] == [
        ("pout_1", pb.StuckSaga.WHY_MANUAL)
    ]
    assert [each.subject_id for each in first.sagas] == ["pay_1"]
    assert await refusal(unknown) == "UNKNOWN_FLOW"


async def test_a_retry_makes_it_due_and_is_recorded(desk: Desk) -> None:
    maker, _ = await two(desk)
    desk.flows["refund"].add("ref_1")

    answer = await desk.call("RetrySaga", pb.RetrySagaRequest, maker, subject_id="ref_1")

    assert answer.saga.next_run_at.ToDatetime(tzinfo=NOW.tzinfo) == NOW
    assert (await desk.deeds())[-1] == ("maker", "SAGA_RETRIED", "ref_1")


async def test_what_has_ended_is_not_tried_again(desk: Desk) -> None:
    maker, _ = await two(desk)
    desk.flows["refund"].add("ref_1", state="SUCCEEDED")

    retry = desk.call("RetrySaga", pb.RetrySagaRequest, maker, subject_id="ref_1")

    assert await refusal(retry) == "SAGA_ENDED"
    assert "SAGA_RETRIED" not in [action for _, action, _ in await desk.deeds()]


async def test_cases_are_paged_newest_first(desk: Desk) -> None:
    for number in range(4):
        await add_case(desk, number, closed=number == 2)

    first = await desk.call("ListCases", pb.ListCasesRequest, is_open=True, page_size=2)
    rest = await desk.call(
        "ListCases",
        pb.ListCasesRequest,
        is_open=True,
        page_size=2,
        page_token=first.next_page_token,
    )
    every = await desk.call("ListCases", pb.ListCasesRequest)
    # A token belongs to the question it came from.
    misused = desk.call("ListCases", pb.ListCasesRequest, page_token=first.next_page_token)

    assert [case.case_id for case in first.cases] == ["case_3", "case_1"]
    assert [case.case_id for case in rest.cases] == ["case_0"]
    assert [case.case_id for case in every.cases] == ["case_3", "case_2", "case_1", "case_0"]
    assert [case.HasField("closed_at") for case in every.cases] == [False, True, False, False]
    assert await refusal(misused) == "INVALID_PAGE_TOKEN"


async def test_a_subject_has_at_most_one_open_case_of_a_kind(desk: Desk) -> None:
    await add_case(desk, 1)
    another = (
        "INSERT INTO manual_case (case_id, subject_id, merchant_id, reason, opened_at)"
        " VALUES ($1, 'pay_1', 'mer_1', $2, now())"
    )
    await desk.pool.execute(another, "case_8", "LATE_SUCCESS")
    with pytest.raises(Exception, match="manual_case_open"):
        await desk.pool.execute(another, "case_9", "OUTCOME_UNKNOWN")


async def test_the_chain_is_paged_newest_first_and_by_subject(desk: Desk) -> None:
    maker, checker = await two(desk)
    force = await desk.propose(maker, desk.flows["payment"].add("pay_1"))
    await desk.decide(checker, force.force_id)

    newest = await desk.call("ListAuditRecords", pb.ListAuditRecordsRequest, page_size=2)
    rest = await desk.call(
        "ListAuditRecords", pb.ListAuditRecordsRequest, page_token=newest.next_page_token
    )
    about = await desk.call("ListAuditRecords", pb.ListAuditRecordsRequest, subject_id="pay_1")

    assert [record.number for record in newest.records] == [5, 4]
    assert [record.number for record in rest.records] == [3, 2, 1]
    assert [record.number for record in about.records] == [5, 4, 3]
    assert about.records[2].operator_id == "maker"
    assert "line 12 of the bill" in about.records[2].detail


async def test_no_secret_of_a_key_reaches_the_chain(desk: Desk) -> None:
    [(_, value)] = await desk.hire("maker")
    secret = value.rpartition(".")[2]

    assert all(secret not in record.detail for record in await desk.records())


async def test_a_forged_record_is_found_by_verifying(desk: Desk) -> None:
    await two(desk)
    whole = await desk.call("VerifyAuditChain", pb.VerifyAuditChainRequest)
    await desk.pool.execute("ALTER TABLE audit_record DISABLE TRIGGER ALL")
    await desk.pool.execute("UPDATE audit_record SET subject_id = 'third' WHERE number = 2")

    broken = await desk.call("VerifyAuditChain", pb.VerifyAuditChainRequest)

    assert (whole.records_count, whole.first_broken_number) == (2, 0)
    assert whole.last_hash == (await desk.records())[-1].hash
    assert (broken.records_count, broken.first_broken_number) == (2, 2)
