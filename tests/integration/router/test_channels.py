"""The care of channels: idempotent, guarded by etags, paged."""

import asyncio
from collections.abc import Callable

import pytest

from fisc.common.v1 import method_pb2
from fisc.router.v1 import router_pb2 as pb
from libs.errors import ErrorKind
from tests.integration.router.support import Fixture, channel


async def get(router: Fixture, channel_id: str) -> pb.Channel:
    request = pb.GetChannelRequest(channel_id=channel_id)
    return (await router.call(router.stub.GetChannel, request)).channel


async def test_a_channel_is_stored_whole(router: Fixture) -> None:
    described = channel("main", static_rank=7)
    described.fee.CopyFrom(
        pb.FeeSchedule(rate_ppm=3_800, fixed_minor=5, minimum_minor=10, maximum_minor=500)
    )
    described.cut_off = "23:00"
    stored = await router.upsert(described)
    assert stored.etag
    assert await get(router, "main") == stored
    stored.etag = ""
    assert stored == described


async def test_a_repeated_request_gets_the_first_answer_and_changes_nothing(
    router: Fixture,
) -> None:
    first = await router.upsert(channel("main"), request_id="r1")
    changed = channel("main")
    changed.display_name = "Changed"
    second = await router.upsert(changed, request_id="r2")
    assert await router.upsert(channel("main"), request_id="r1") == first
    assert await get(router, "main") == second


async def test_the_same_request_sent_at_once_is_done_once(router: Fixture) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(router.upsert(channel("main"), request_id="r1")) for _ in range(8)
        ]
    assert {task.result().etag for task in tasks} == {(await get(router, "main")).etag}


async def test_a_request_id_with_another_body_is_refused(router: Fixture) -> None:
    await router.upsert(channel("main"), request_id="r1")
    request = pb.UpsertChannelRequest(request_id="r1", channel=channel("main", rate_ppm=1))
    error = await router.refusal(router.stub.UpsertChannel, request)
    assert (error.kind, error.reason, error.field) == (
        ErrorKind.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        "request_id",
    )


async def test_a_stale_etag_is_refused_and_the_request_may_be_mended(router: Fixture) -> None:
    read = await router.upsert(channel("main"))
    await router.upsert(channel("main", rate_ppm=1))
    request = pb.UpsertChannelRequest(request_id="mine", channel=read)
    error = await router.refusal(router.stub.UpsertChannel, request)
    assert (error.kind, error.reason, error.field) == (
        ErrorKind.CONFLICT,
        "ETAG_MISMATCH",
        "channel.etag",
    )
    fresh = await get(router, "main")
    assert fresh.fee.rate_ppm == 1
    assert (await router.upsert(fresh, request_id="mine")).etag != fresh.etag


async def test_an_etag_of_a_channel_that_does_not_exist_is_refused(router: Fixture) -> None:
    described = channel("main")
    described.etag = "v1"
    request = pb.UpsertChannelRequest(request_id="r1", channel=described)
    error = await router.refusal(router.stub.UpsertChannel, request)
    assert error.reason == "ETAG_MISMATCH"
    await router.refusal(router.stub.GetChannel, pb.GetChannelRequest(channel_id="main"))


async def test_of_two_writers_with_one_etag_one_wins(router: Fixture) -> None:
    read = await router.upsert(channel("main"))
    requests = []
    for number in range(2):
        changed = pb.Channel()
        changed.CopyFrom(read)
        changed.static_rank = number + 1
        requests.append(pb.UpsertChannelRequest(request_id=f"w{number}", channel=changed))
    calls = [router.call(router.stub.UpsertChannel, each) for each in requests]
    answers = await asyncio.gather(*calls, return_exceptions=True)  # noqa: TID251 -- one must fail
    assert sorted(getattr(each, "reason", "OK") for each in answers) == ["ETAG_MISMATCH", "OK"]


async def test_a_status_change_is_stored_and_idempotent(router: Fixture) -> None:
    before = await router.upsert(channel("main"))
    request = pb.SetChannelStatusRequest(
        request_id="s1", channel_id="main", status=pb.CHANNEL_STATUS_DRAINED
    )
    first = (await router.call(router.stub.SetChannelStatus, request)).channel
    assert first.status == pb.CHANNEL_STATUS_DRAINED
    assert first.etag != before.etag
    assert (await router.call(router.stub.SetChannelStatus, request)).channel == first
    assert await get(router, "main") == first


async def test_an_unknown_channel_is_not_found(router: Fixture) -> None:
    request = pb.SetChannelStatusRequest(
        request_id="s1", channel_id="nobody", status=pb.CHANNEL_STATUS_ENABLED
    )
    error = await router.refusal(router.stub.SetChannelStatus, request)
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "CHANNEL_NOT_FOUND")


async def test_pages_follow_each_other_without_gap_or_repetition(router: Fixture) -> None:
    ids = [f"channel-{number}" for number in range(5)]
    for channel_id in reversed(ids):
        await router.upsert(channel(channel_id))
    seen: list[list[str]] = []
    token = ""
    while True:
        request = pb.ListChannelsRequest(page_size=2, page_token=token)
        page = await router.call(router.stub.ListChannels, request)
        seen.append([each.channel_id for each in page.channels])
        token = page.next_page_token
        if not token:
            break
    assert seen == [ids[0:2], ids[2:4], ids[4:5]]
    everything = await router.call(router.stub.ListChannels, pb.ListChannelsRequest())
    assert [each.channel_id for each in everything.channels] == ids
    assert not everything.next_page_token


@pytest.mark.parametrize("token", ["nonsense", "!", "YWZ0", "日"])
async def test_a_forged_page_token_is_refused(router: Fixture, token: str) -> None:
    error = await router.refusal(router.stub.ListChannels, pb.ListChannelsRequest(page_token=token))
    assert (error.kind, error.reason, error.field) == (
        ErrorKind.INVALID,
        "INVALID_PAGE_TOKEN",
        "page_token",
    )


def _set_currency(described: pb.Channel) -> None:
    described.currencies.append("XYZ")


def _clear_status(described: pb.Channel) -> None:
    described.status = pb.CHANNEL_STATUS_UNSPECIFIED


def _add_method(described: pb.Channel) -> None:
    described.methods.append(method_pb2.PAYMENT_METHOD_UNSPECIFIED)


def _swap_amounts(described: pb.Channel) -> None:
    described.amount_minimum_minor = described.amount_maximum_minor + 1


def _make_amount_negative(described: pb.Channel) -> None:
    described.amount_maximum_minor = -1


def _swap_fees(described: pb.Channel) -> None:
    described.fee.minimum_minor, described.fee.maximum_minor = 2, 1


def _make_fee_absurd(described: pb.Channel) -> None:
    described.fee.fixed_minor = 10**16


def _set_zone(described: pb.Channel) -> None:
    described.zone = "../etc/passwd"


def _set_id(described: pb.Channel) -> None:
    described.channel_id = "Main Channel"


@pytest.mark.parametrize(
    ("spoil", "reason", "field"),
    [
        (_set_currency, "UNKNOWN_CURRENCY", "channel.currencies[1]"),
        (_clear_status, "INVALID_ARGUMENT", "channel.status"),
        (_add_method, "INVALID_ARGUMENT", "channel.methods[1]"),
        (_swap_amounts, "INVALID_CHANNEL", "channel.amount_maximum_minor"),
        (_make_amount_negative, "INVALID_ARGUMENT", "channel.amount_maximum_minor"),
        (_swap_fees, "INVALID_CHANNEL", "channel.fee.maximum_minor"),
        (_make_fee_absurd, "INVALID_CHANNEL", "channel.fee.fixed_minor"),
        (_set_zone, "INVALID_CHANNEL", "channel.zone"),
        (_set_id, "INVALID_ARGUMENT", "channel.channel_id"),
    ],
)
async def test_bad_descriptions_are_refused_with_the_field_and_leave_nothing(
    router: Fixture, spoil: Callable[[pb.Channel], None], reason: str, field: str
) -> None:
    described = channel("main")
    spoil(described)
    request = pb.UpsertChannelRequest(request_id="r1", channel=described)
    error = await router.refusal(router.stub.UpsertChannel, request)
    assert (error.kind, error.reason, error.field) == (ErrorKind.INVALID, reason, field)
    assert await router.pool.fetchval("SELECT count(*) FROM channel") == 0
    assert await router.pool.fetchval("SELECT count(*) FROM request") == 0
