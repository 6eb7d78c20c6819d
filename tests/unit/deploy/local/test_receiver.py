"""The demo merchants' own check of a webhook's signature."""

import base64

import httpx

from deploy.local import receiver
from deploy.local.receiver import Receiver

# The example of the Standard Webhooks reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
SENT_AT = 1614265330
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(SENT_AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_the_published_example_is_genuine() -> None:
    assert receiver.is_genuine(SECRET, HEADERS, BODY, SENT_AT)


def test_one_right_signature_among_several_is_enough() -> None:
    signatures = f"v1,{base64.b64encode(b'other').decode()} {HEADERS['webhook-signature']}"
    assert receiver.is_genuine(SECRET, {**HEADERS, "webhook-signature": signatures}, BODY, SENT_AT)


def test_anything_changed_or_late_is_not_genuine() -> None:
    assert not receiver.is_genuine(SECRET, HEADERS, BODY + b" ", SENT_AT)
    assert not receiver.is_genuine(SECRET, {**HEADERS, "webhook-id": "msg_1"}, BODY, SENT_AT)
    assert not receiver.is_genuine(SECRET, {**HEADERS, "webhook-timestamp": "x"}, BODY, SENT_AT)
    assert not receiver.is_genuine(SECRET, HEADERS, BODY, SENT_AT + 301)
    assert not receiver.is_genuine(
        "whsec_" + base64.b64encode(b"k").decode(), HEADERS, BODY, SENT_AT
    )
    assert not receiver.is_genuine("whsec_!", HEADERS, BODY, SENT_AT)
    assert not receiver.is_genuine(SECRET, {}, BODY, SENT_AT)


async def test_a_forged_message_is_refused_and_counted() -> None:
    hearing = Receiver(lambda merchant_id: SECRET if merchant_id == "shop" else "")
    transport = httpx.ASGITransport(hearing.application())
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
        for merchant in ("shop", "nobody"):
            answer = await client.post(f"/webhooks/{merchant}", content=BODY, headers=HEADERS)
            assert answer.status_code == 401
        heard = (await client.get("/heard")).json()
    assert heard == {"messages": 0, "by_type": {}, "repeated": 0, "refused": 2}
