"""Messages are signed as Standard Webhooks says."""

from datetime import UTC, datetime

import pytest

from services.notification.domain import signature

# The example that the Standard Webhooks libraries test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP_S = 1_614_265_330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_example_gets_the_published_signature() -> None:
    assert signature.sign(SECRET, MESSAGE_ID, TIMESTAMP_S, BODY) == SIGNATURE


def test_every_part_is_signed() -> None:
    others = {
        signature.sign(SECRET, MESSAGE_ID + "x", TIMESTAMP_S, BODY),
        signature.sign(SECRET, MESSAGE_ID, TIMESTAMP_S + 1, BODY),
        signature.sign(SECRET, MESSAGE_ID, TIMESTAMP_S, BODY + b" "),
        signature.sign(signature.make_secret(bytes(32)), MESSAGE_ID, TIMESTAMP_S, BODY),
    }
    assert len(others) == 4
    assert SIGNATURE not in others


def test_each_secret_adds_a_signature_the_newest_first() -> None:
    newest = signature.make_secret(bytes(range(32)))
    now = datetime.fromtimestamp(TIMESTAMP_S + 0.9, UTC)
    assert signature.headers([newest, SECRET], MESSAGE_ID, now, BODY) == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": " ".join(
            [signature.sign(newest, MESSAGE_ID, TIMESTAMP_S, BODY), SIGNATURE]
        ),
    }


def test_a_secret_is_made_of_exactly_the_random_bytes_asked_for() -> None:
    assert signature.make_secret(bytes(32)) == "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    with pytest.raises(ValueError, match="32"):
        signature.make_secret(bytes(16))
