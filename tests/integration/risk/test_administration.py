"""Rules and lists over gRPC."""

import asyncio
from datetime import timedelta

import pytest

from fisc.risk.v1 import risk_pb2 as pb
from libs.errors import ErrorKind
from libs.rpc import convert
from services.risk.workers import BookRefresher
from tests.integration.risk.support import (
    ALLOW,
    DENY,
    NOON,
    REVIEW,
    Fixture,
    FreshDatabase,
    StartRisk,
    day_limit,
    entry,
    evaluation,
    rule,
)


def single(amount_maximum_minor: int) -> pb.SingleLimit:
    return pb.SingleLimit(amount_maximum_minor=amount_maximum_minor)


async def test_a_rule_gets_a_new_version_with_every_write_but_not_with_a_repetition(
    risk: Fixture,
) -> None:
    request = pb.UpsertRuleRequest(request_id="r-1", rule=rule("single", single_limit=single(5)))
    first = (await risk.call(risk.stub.UpsertRule, request)).rule
    second = await risk.upsert(rule("single", single_limit=single(6)))
    repeated = (await risk.call(risk.stub.UpsertRule, request)).rule
    assert (first.version, second.version) == (1, 2)
    assert repeated == first
    (current,) = (await risk.call(risk.stub.ListRules, pb.ListRulesRequest())).rules
    assert current == second


async def test_a_request_id_with_another_content_is_refused(risk: Fixture) -> None:
    await risk.call(
        risk.stub.AddListEntry,
        pb.AddListEntryRequest(request_id="r-1", entry=entry(pb.LIST_NAME_BLOCK)),
    )
    other = pb.AddListEntryRequest(request_id="r-1", entry=entry(pb.LIST_NAME_BLOCK, "c-2"))
    error = await risk.refusal(risk.stub.AddListEntry, other)
    assert (error.kind, error.reason) == (ErrorKind.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert error.field == "request_id"


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (rule("watch-list", single_limit=single(1)), "RULE_ID_RESERVED", "rule.rule_id"),
        (rule("no-bound", day_limit=day_limit()), "BOUND_REQUIRED", "rule.day_limit"),
        (rule("NoCapitals", single_limit=single(1)), "INVALID_ARGUMENT", "rule.rule_id"),
        (rule("negative", single_limit=single(-1)), "INVALID_ARGUMENT", None),
        (rule("no-check"), "INVALID_ARGUMENT", None),
        (rule("allow-rule", ALLOW, single_limit=single(1)), "INVALID_ARGUMENT", "rule.verdict"),
        (
            pb.Rule(rule_id="op", verdict=DENY, operation=99, single_limit=single(1)),  # type: ignore[arg-type]  # the wire may carry it
            "INVALID_ARGUMENT",
            "rule.operation",
        ),
        (
            pb.Rule(rule_id="no-currency", verdict=DENY, single_limit=single(1)),
            "CURRENCY_REQUIRED",
            "rule.currency",
        ),
    ],
)
async def test_a_bad_rule_is_refused_and_nothing_is_written(
    risk: Fixture, bad: pb.Rule, reason: str, field: str | None
) -> None:
    request = pb.UpsertRuleRequest(request_id="r-1", rule=bad)
    error = await risk.refusal(risk.stub.UpsertRule, request)
    assert (error.kind, error.reason) == (ErrorKind.INVALID, reason)
    if field is not None:
        assert error.field == field
    assert not (await risk.call(risk.stub.ListRules, pb.ListRulesRequest())).rules


async def test_a_rule_comes_back_as_it_was_written(risk: Fixture) -> None:
    written = rule("day", REVIEW, day_limit=day_limit(5, 6))
    written.merchant_id, written.description = "m-1", "for the test"
    assert await risk.upsert(written) != written
    (stored,) = (await risk.call(risk.stub.ListRules, pb.ListRulesRequest())).rules
    written.version = 1
    assert stored == written


async def test_each_list_has_its_verdict_until_the_entry_is_removed(risk: Fixture) -> None:
    await risk.upsert(rule("single", single_limit=single(1)))
    await risk.add(entry(pb.LIST_NAME_WATCH, "c-2"))
    allowed = await risk.add(entry(pb.LIST_NAME_ALLOW))
    assert (await risk.evaluate(evaluation("eval_1"))).verdict == ALLOW
    blocked = await risk.add(entry(pb.LIST_NAME_BLOCK))
    assert (await risk.evaluate(evaluation("eval_2"))).verdict == DENY
    await risk.remove(blocked.entry_id)
    await risk.remove(blocked.entry_id)
    assert (await risk.evaluate(evaluation("eval_3"))).verdict == ALLOW
    await risk.remove(allowed.entry_id)
    assert (await risk.evaluate(evaluation("eval_4"))).verdict == DENY
    watched = await risk.evaluate(evaluation("eval_5", 1, customer_id="c-2"))
    assert watched.verdict == REVIEW
    left = (await risk.call(risk.stub.ListListEntries, pb.ListListEntriesRequest())).entries
    assert [item.value for item in left] == ["c-2"]


async def test_an_entry_catches_every_spelling_of_an_address(risk: Fixture) -> None:
    await risk.add(entry(pb.LIST_NAME_BLOCK, "2001:DB8::0:1", pb.SUBJECT_KIND_IP))
    other = evaluation("eval_1", ip="2001:0db8:0:0:0:0:0:1")
    assert (await risk.evaluate(other)).verdict == DENY


async def test_an_entry_is_in_force_until_it_expires(risk: Fixture) -> None:
    end = convert.to_timestamp(NOON + timedelta(seconds=60))
    request = pb.AddListEntryRequest(
        request_id="r-1", entry=entry(pb.LIST_NAME_BLOCK, expires_at=end)
    )
    added = (await risk.call(risk.stub.AddListEntry, request)).entry
    assert (await risk.evaluate(evaluation("eval_1"))).verdict == DENY
    risk.clock.advance(60)
    assert (await risk.evaluate(evaluation("eval_2"))).verdict == ALLOW
    listed = await risk.call(risk.stub.ListListEntries, pb.ListListEntriesRequest())
    assert not listed.entries
    assert (await risk.call(risk.stub.AddListEntry, request)).entry == added
    late = pb.AddListEntryRequest(request_id="r-2", entry=request.entry)
    error = await risk.refusal(risk.stub.AddListEntry, late)
    assert (error.reason, error.field) == ("ENTRY_EXPIRED", "entry.expires_at")


async def test_removing_an_unknown_entry_is_not_found(risk: Fixture) -> None:
    request = pb.RemoveListEntryRequest(request_id="r-1", entry_id="entry_none")
    error = await risk.refusal(risk.stub.RemoveListEntry, request)
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "LIST_ENTRY_NOT_FOUND")


async def test_rules_and_entries_come_in_pages_without_gap_or_repetition(risk: Fixture) -> None:
    for number in range(5):
        await risk.upsert(rule(f"rule-{number}", single_limit=single(1)))
        await risk.add(entry(pb.LIST_NAME_WATCH, f"c-{number}"))
    await risk.add(entry(pb.LIST_NAME_BLOCK, "c-9"))
    rule_ids: list[str] = []
    sizes: list[int] = []
    token = ""
    while token or not sizes:
        rules = await risk.call(
            risk.stub.ListRules, pb.ListRulesRequest(page_size=2, page_token=token)
        )
        rule_ids += [item.rule_id for item in rules.rules]
        sizes.append(len(rules.rules))
        token = rules.next_page_token
    assert (rule_ids, sizes) == ([f"rule-{number}" for number in range(5)], [2, 2, 1])
    page = await risk.call(
        risk.stub.ListListEntries,
        pb.ListListEntriesRequest(list=pb.LIST_NAME_WATCH, page_size=5),
    )
    assert [item.value for item in page.entries] == [f"c-{number}" for number in range(5)]
    assert page.next_page_token == ""


@pytest.mark.parametrize("token", ["%%%", "é", "AA"])
async def test_a_foreign_page_token_is_refused(risk: Fixture, token: str) -> None:
    error = await risk.refusal(risk.stub.ListRules, pb.ListRulesRequest(page_token=token))
    assert (error.reason, error.field) == ("INVALID_PAGE_TOKEN", "page_token")


async def test_another_replica_follows_a_new_rule_soon(
    fresh_database: FreshDatabase, redis_url: str, start_risk: StartRisk
) -> None:
    database_url = await fresh_database("risk")
    async with (
        start_risk(database_url, redis_url) as one,
        start_risk(database_url, redis_url) as other,
    ):
        refresher = asyncio.create_task(BookRefresher(other.risk.book, every_s=0.01).run())
        await one.upsert(rule("single", single_limit=single(1)))
        async with asyncio.timeout(5):
            number = 0
            while (await other.evaluate(evaluation(f"eval_{number}"))).verdict != DENY:
                number += 1
        refresher.cancel()
