"""SM2 against the example of its standard, and what must not pass."""

import secrets
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs import sm2

# GB/T 32918.5, annex A: the recommended curve, user id 1234567812345678.
USER_ID = b"1234567812345678"
MESSAGE = b"message digest"
SCALAR = bytes.fromhex("3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8")
POINT = bytes.fromhex(
    "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
SIGNATURE = bytes.fromhex(
    "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
)


def test_the_standards_signature_verifies() -> None:
    key = sm2.PublicKey.from_raw(POINT)
    assert key.verify(SIGNATURE, MESSAGE, USER_ID)
    assert sm2.PrivateKey.from_raw(SCALAR).public_key().point == POINT


@pytest.mark.parametrize("place", range(0, 64, 7))
def test_a_changed_signature_does_not(place: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[place] ^= 1
    assert not sm2.PublicKey.from_raw(POINT).verify(bytes(changed), MESSAGE, USER_ID)


def test_another_identifier_or_message_does_not() -> None:
    key = sm2.PublicKey.from_raw(POINT)
    assert not key.verify(SIGNATURE, MESSAGE, b"1234567812345679")
    assert not key.verify(SIGNATURE, MESSAGE + b".", USER_ID)


@pytest.mark.parametrize(
    "signature", [b"", bytes(64), bytes(63), b"\xff" * 64, bytes(32) + SIGNATURE[32:]]
)
def test_what_is_no_signature_is_refused_without_an_error(signature: bytes) -> None:
    assert not sm2.PublicKey.from_raw(POINT).verify(signature, MESSAGE, USER_ID)


@settings(max_examples=60, deadline=None)
@given(message=st.binary(max_size=300), user_id=st.binary(min_size=1, max_size=40))
def test_what_we_sign_verifies(message: bytes, user_id: bytes) -> None:
    key = sm2.PrivateKey.from_raw(SCALAR)
    signature = key.sign(message, user_id)
    assert len(signature) == sm2.SIGNATURE_BYTES
    assert key.public_key().verify(signature, message, user_id)


def test_no_two_signatures_share_their_random_number() -> None:
    key = sm2.PrivateKey.from_raw(SCALAR)
    assert len({key.sign(MESSAGE, USER_ID)[:32] for _ in range(50)}) == 50


@pytest.mark.parametrize("scalar", [b"", bytes(31), bytes(32), b"\xff" * 32])
def test_what_is_no_private_key_is_refused(scalar: bytes) -> None:
    with pytest.raises(sm2.Sm2KeyInvalid):
        sm2.PrivateKey.from_raw(scalar)


@pytest.mark.parametrize("point", [b"", bytes(65), POINT[:-1] + b"\0", b"\2" + POINT[1:]])
def test_a_point_off_the_curve_is_refused(point: bytes) -> None:
    with pytest.raises(sm2.Sm2KeyInvalid):
        sm2.PublicKey.from_raw(point)


def test_threads_do_not_disturb_one_another() -> None:
    key = sm2.PrivateKey.from_raw(SCALAR)
    public = key.public_key()
    bad: list[bytes] = []

    def work() -> None:
        for _ in range(50):
            message = secrets.token_bytes(40)
            if not public.verify(key.sign(message, USER_ID), message, USER_ID):
                bad.append(message)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad == []
