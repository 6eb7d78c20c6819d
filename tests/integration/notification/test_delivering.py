"""A delivery is sent until it is heard, given up or sent again by hand."""

import asyncio
import json

import prometheus_client

from fisc.notification.v1 import notification_pb2 as pb
from libs.testing import eventually
from services.notification import workers
from services.notification.usecases.deliveries import Result
from tests.integration.notification.conftest import ENDPOINT_CONCURRENCY_MAX
from tests.integration.notification.support import (
    LEASE_S,
    RETRY_DELAYS_S,
    Fixture,
    Receiver,
    documented_verify,
    notice,
    receiving,
)

ANY_AGE_S = 10**10


async def test_a_merchant_verifies_with_the_documented_code(
    notification: Fixture, receiver: Receiver
) -> None:
    secret = (await notification.create(receiver.url)).secret
    await notification.tell(notice(1))
    await notification.send_due()

    (received,) = receiver.requests
    (delivery,) = await notification.listed()
    verify = documented_verify()
    assert verify(secret, received.headers, received.body, ANY_AGE_S)
    assert not verify(secret, received.headers, received.body + b" ", ANY_AGE_S)
    assert not verify(secret, received.headers, received.body)  # too old by the real clock
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == delivery.delivery_id
    assert received.body.decode() == delivery.body
    assert json.loads(received.body)["data"] == {"payment_id": "pay_1", "amount_minor": 1230}
    assert delivery.state == pb.Delivery.STATE_DELIVERED
    assert not delivery.HasField("next_attempt_at")


async def test_only_those_who_subscribed_are_told_and_only_of_their_own(
    notification: Fixture, receiver: Receiver
) -> None:
    await notification.create(receiver.url + "/all")
    await notification.create(receiver.url + "/payouts", "payout.*")
    await notification.create(receiver.url + "/other", merchant_id="mer_2")
    await notification.tell(notice(1), notice(2, "payout.failed"), notice(3, merchant_id=""))
    told = sorted((each.event_id, each.merchant_id) for each in await notification.listed())
    assert told == [("evt_1", "mer_1"), ("evt_2", "mer_1"), ("evt_2", "mer_1")]


async def test_an_event_told_twice_makes_one_delivery(
    notification: Fixture, receiver: Receiver
) -> None:
    await notification.create(receiver.url)
    await notification.tell(notice(1), notice(2))
    await notification.tell(notice(2), notice(1), notice(3))
    await notification.send_due()
    assert len(set(receiver.ids())) == len(receiver.requests) == 3


async def test_failures_are_tried_again_along_the_schedule_with_the_same_id_until_heard(
    notification: Fixture, receiver: Receiver
) -> None:
    receiver.statuses = [500, 429]
    await notification.create(receiver.url)
    await notification.tell(notice(1))
    await notification.send_due()
    (waiting,) = await notification.listed(state=pb.Delivery.STATE_PENDING)
    assert waiting.next_attempt_at.ToSeconds() - waiting.created_at.ToSeconds() == 60

    notification.clock.advance(RETRY_DELAYS_S[0] - 1)
    await notification.send_due()
    assert len(receiver.requests) == 1  # not due yet
    notification.clock.advance(1)
    await notification.send_due()
    notification.clock.advance(RETRY_DELAYS_S[1])
    await notification.send_due()

    heard = await notification.get(waiting.delivery_id)
    assert heard.state == pb.Delivery.STATE_DELIVERED
    assert receiver.ids() == [waiting.delivery_id] * 3
    assert [(each.http_status, each.error) for each in heard.attempts] == [
        (500, "HTTP_500"),
        (429, "HTTP_429"),
        (200, ""),
    ]
    stamps = [int(each.headers["webhook-timestamp"]) for each in receiver.requests]
    assert stamps == [each.attempted_at.ToSeconds() for each in heard.attempts]


async def test_after_the_last_attempt_it_is_dead_until_sent_again_by_hand(
    notification: Fixture, receiver: Receiver
) -> None:
    receiver.statuses = [503] * 4
    await notification.create(receiver.url)
    await notification.tell(notice(1))
    for delay_s in (0.0, *RETRY_DELAYS_S):
        notification.clock.advance(delay_s)
        await notification.send_due()
    (dead,) = await notification.listed(state=pb.Delivery.STATE_DEAD)
    backlog, oldest_age_s = await notification.deliveries.backlog()
    assert (backlog.dead_count, backlog.pending_count, oldest_age_s) == (1, 0, 0.0)
    notification.clock.advance(10 * RETRY_DELAYS_S[-1])
    await notification.send_due()
    assert len(receiver.requests) == 3

    again = await notification.redeliver(dead.delivery_id, "req_again")
    assert again.state == pb.Delivery.STATE_PENDING
    assert (await notification.deliveries.backlog())[1] > 0
    await notification.send_due()
    # The fourth failure is the first of a new round; asking again for the same changes nothing.
    waiting = await notification.redeliver(dead.delivery_id, "req_again")
    await notification.send_due()
    assert waiting.state == pb.Delivery.STATE_PENDING
    assert len(receiver.requests) == 4

    notification.clock.advance(RETRY_DELAYS_S[0])
    await notification.send_due()
    heard = await notification.get(dead.delivery_id)
    assert (heard.state, heard.attempts_count) == (pb.Delivery.STATE_DELIVERED, 5)
    assert set(receiver.ids()) == {dead.delivery_id}


async def test_410_disables_the_endpoint_and_gives_up_what_waits_for_it(
    notification: Fixture, receiver: Receiver
) -> None:
    made = (await notification.create(receiver.url)).endpoint
    receiver.statuses = [500]
    await notification.tell(notice(1))
    await notification.send_due()
    receiver.statuses = [410]
    await notification.tell(notice(2))
    await notification.send_due()

    assert (await notification.endpoint(made.endpoint_id)).state == pb.Endpoint.STATE_DISABLED
    listed = await notification.listed()
    assert [each.state for each in listed] == [pb.Delivery.STATE_DEAD] * 2
    await notification.tell(notice(3))
    assert len(await notification.listed()) == 2
    again = notification.redeliver(listed[0].delivery_id)
    assert await notification.refusal(again) == "ENDPOINT_DISABLED"

    made.state = pb.Endpoint.STATE_ENABLED
    await notification.update(made)
    await notification.redeliver(listed[0].delivery_id)
    await notification.send_due()
    heard = await notification.get(listed[0].delivery_id)
    assert heard.state == pb.Delivery.STATE_DELIVERED


async def test_410_from_where_the_endpoint_no_longer_is_disables_nothing(
    notification: Fixture, receiver: Receiver
) -> None:
    made = (await notification.create(receiver.url + "/old")).endpoint
    await notification.tell(notice(1))
    (claim,) = await notification.deliveries.claim(count_max=1, endpoint_max=1, in_flight={})
    made.url = receiver.url + "/new"
    await notification.update(made)
    receiver.statuses = [410]
    assert await notification.deliveries.attempt(claim) is Result.RETRY
    assert (await notification.endpoint(made.endpoint_id)).state == pb.Endpoint.STATE_ENABLED


async def test_a_redirect_is_a_failure_and_not_followed(
    notification: Fixture, receiver: Receiver
) -> None:
    async with receiving() as elsewhere:
        receiver.statuses, receiver.location = [302], elsewhere.url
        await notification.create(receiver.url)
        await notification.tell(notice(1))
        await notification.send_due()
        (waiting,) = await notification.listed()
        (attempt,) = (await notification.get(waiting.delivery_id)).attempts
        assert (attempt.http_status, attempt.error) == (302, "REDIRECT_REFUSED")
        assert waiting.state == pb.Delivery.STATE_PENDING
        assert not elsewhere.requests


async def test_for_a_day_after_a_rotation_both_secrets_sign(
    notification: Fixture, receiver: Receiver
) -> None:
    made = await notification.create(receiver.url)
    new = await notification.rotate(made.endpoint.endpoint_id, "req_rotate")
    assert await notification.rotate(made.endpoint.endpoint_id, "req_rotate") == ""
    await notification.tell(notice(1))
    await notification.send_due()
    notification.clock.advance(24 * 3_600)
    await notification.tell(notice(2))
    await notification.send_due()

    verify = documented_verify()
    during, after = receiver.requests
    assert len(during.headers["webhook-signature"].split(" ")) == 2
    assert verify(made.secret, during.headers, during.body, ANY_AGE_S)
    assert verify(new, during.headers, during.body, ANY_AGE_S)
    assert verify(new, after.headers, after.body, ANY_AGE_S)
    assert not verify(made.secret, after.headers, after.body, ANY_AGE_S)


async def test_a_crash_between_sending_and_recording_sends_the_same_id_again(
    notification: Fixture, receiver: Receiver
) -> None:
    await notification.create(receiver.url)
    await notification.tell(notice(1))
    receiver.is_silent = True
    async with notification.working():
        await eventually(lambda: receiver.requests)  # it arrived; the worker dies waiting

    receiver.is_silent = False
    await notification.send_due()
    assert len(receiver.requests) == 1  # the lease of the dead still runs
    notification.clock.advance(LEASE_S)
    await notification.send_due()
    (heard,) = await notification.listed()
    assert heard.state == pb.Delivery.STATE_DELIVERED
    assert receiver.ids() == [heard.delivery_id] * 2


async def test_an_attempt_whose_lease_ran_out_changes_nothing_but_is_recorded(
    notification: Fixture, receiver: Receiver
) -> None:
    await notification.create(receiver.url)
    await notification.tell(notice(1))
    receiver.statuses = [500, 200]
    (slow,) = await notification.deliveries.claim(count_max=1, endpoint_max=1, in_flight={})
    notification.clock.advance(LEASE_S)
    (quick,) = await notification.deliveries.claim(count_max=1, endpoint_max=1, in_flight={})
    assert await notification.deliveries.attempt(slow) is Result.OVERTAKEN
    assert await notification.deliveries.attempt(quick) is Result.DELIVERED
    heard = await notification.get(quick.delivery_id)
    assert [each.http_status for each in heard.attempts] == [500, 200]


async def test_a_slow_endpoint_gets_few_at_once_and_holds_nobody_else_up(
    notification: Fixture, receiver: Receiver
) -> None:
    async with receiving() as slow:
        slow.is_silent = True
        await notification.create(slow.url)
        await notification.tell(*(notice(number) for number in range(20)))
        await notification.create(receiver.url, merchant_id="mer_2")
        await notification.tell(*(notice(number, merchant_id="mer_2") for number in range(20, 40)))
        async with notification.working():
            await eventually(lambda: len(receiver.requests) == 20)
            assert slow.open_max == ENDPOINT_CONCURRENCY_MAX
            assert receiver.open_max <= ENDPOINT_CONCURRENCY_MAX


async def test_two_workers_send_each_delivery_once(
    notification: Fixture, receiver: Receiver
) -> None:
    await notification.create(receiver.url)
    receiver.answer_after_s = 0.01
    async with notification.working(), notification.working():
        await notification.tell(*(notice(number) for number in range(30)))
        await eventually(lambda: len(receiver.requests) >= 30)
        await asyncio.sleep(0.1)
    assert len(set(receiver.ids())) == len(receiver.requests) == 30


async def test_a_delivery_that_cannot_be_signed_does_not_stop_the_worker(
    notification: Fixture, receiver: Receiver
) -> None:
    broken = (await notification.create(receiver.url + "/broken")).endpoint
    await notification.create(receiver.url)
    await notification.pool.execute(
        "UPDATE endpoint_secret SET sealed = 'x' WHERE endpoint_id = $1", broken.endpoint_id
    )
    async with notification.working():
        await notification.tell(notice(1))
        await notification.tell(notice(2))
        await eventually(lambda: len(receiver.requests) == 2)


async def test_pages_of_deliveries_come_newest_first_and_can_be_narrowed(
    notification: Fixture, receiver: Receiver
) -> None:
    await notification.create(receiver.url)
    for number in range(5):
        notification.clock.advance(1)
        await notification.tell(notice(number))
    request = pb.ListDeliveriesRequest(merchant_id="mer_1", page_size=2)
    seen = []
    while True:
        page = await notification.call(notification.stub.ListDeliveries, request)
        seen += [each.event_id for each in page.deliveries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]
    assert [each.event_id for each in await notification.listed(subject_id="pay_3")] == ["evt_3"]
    assert await notification.listed(merchant_id="mer_2") == []
    assert await notification.listed(state=pb.Delivery.STATE_DEAD) == []


async def test_the_metrics_show_results_and_what_waits(
    notification: Fixture, receiver: Receiver
) -> None:
    def sample(name: str, **labels: str) -> float:
        return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0

    before = sample("fisc_notification_attempts_total", result="retry")
    receiver.statuses = [500]
    await notification.create(receiver.url)
    await notification.tell(notice(1))
    async with notification.working():
        await eventually(
            lambda: sample("fisc_notification_attempts_total", result="retry") == before + 1
        )
    notification.clock.advance(30)
    measuring = asyncio.create_task(workers.measure_backlog(notification.deliveries))
    await eventually(lambda: sample("fisc_notification_oldest_pending_seconds") == 30.0)
    assert sample("fisc_notification_pending") == 1
    assert sample("fisc_notification_dead") == 0
    measuring.cancel()
