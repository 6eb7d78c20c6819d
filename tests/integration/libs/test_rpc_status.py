"""Errors and values survive the way over the wire."""

from datetime import UTC, datetime, timedelta, timezone

import grpc
import pytest
from google.protobuf import timestamp_pb2

from fisc.common.v1 import verdict_pb2
from libs.errors import DeadlineExceeded, ErrorKind, FiscError, RemoteError, Unavailable
from libs.money import Money
from libs.rpc import convert, status


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_comes_back_as_itself(kind: ErrorKind) -> None:
    sent = RemoteError(
        "no: 不行", kind=kind, reason="A_REASON", field="amount", retry_after_s=1.25, limit="10"
    )
    received = status.from_status(status.to_status(sent))
    assert received.kind is kind
    assert (received.reason, received.message, received.field) == ("A_REASON", "no: 不行", "amount")
    assert received.retry_after_s == 1.25
    assert received.metadata == {"limit": "10"}


def test_what_is_not_set_stays_unset() -> None:
    received = status.from_status(status.to_status(FiscError("oops")))
    assert (received.field, received.retry_after_s, received.metadata) == (None, None, {})


def test_metadata_of_the_peer_may_have_any_name() -> None:
    sent = FiscError("oops")
    sent.metadata.update(kind="a", reason="b", message="c", retry_after_s="d")
    assert status.from_status(status.to_status(sent)).metadata == sent.metadata


@pytest.mark.parametrize(
    ("code", "expected", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded, ErrorKind.UNAVAILABLE),
        (grpc.StatusCode.UNAVAILABLE, Unavailable, ErrorKind.UNAVAILABLE),
        (grpc.StatusCode.CANCELLED, Unavailable, ErrorKind.UNAVAILABLE),
        (grpc.StatusCode.UNIMPLEMENTED, RemoteError, ErrorKind.INTERNAL),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, RemoteError, ErrorKind.EXHAUSTED),
    ],
)
def test_a_bare_code_is_the_word_of_the_transport(
    code: grpc.StatusCode, expected: type[FiscError], kind: ErrorKind
) -> None:
    received = status.from_rpc_error(grpc.aio.AioRpcError(code, details="why"))
    assert type(received) is expected
    assert received.kind is kind
    assert received.message == "why"


def test_details_that_are_garbage_do_not_hide_the_code() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.NOT_FOUND,
        trailing_metadata=grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff")),
        details="why",
    )
    assert status.from_rpc_error(error).kind is ErrorKind.NOT_FOUND


def test_money_comes_back_to_the_minor_unit() -> None:
    money = Money("CNY", -(10**15))
    assert convert.money_from_proto(convert.money_to_proto(money)) == money


def test_a_moment_comes_back_in_utc_to_the_microsecond() -> None:
    shanghai = timezone(timedelta(hours=8))
    for moment in (
        datetime(2026, 1, 1, 7, 59, 59, 999_999, tzinfo=shanghai),
        datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    ):
        returned = convert.from_timestamp(convert.to_timestamp(moment))
        assert returned == moment
        assert returned.tzinfo is UTC
    assert convert.from_timestamp(timestamp_pb2.Timestamp(nanos=1_999)).microsecond == 1


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        convert.to_timestamp(datetime(2026, 1, 1))  # noqa: DTZ001 -- the point of the test


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_refusal_of_an_item_keeps_its_kind_and_its_words(kind: ErrorKind) -> None:
    sent = RemoteError("too much", kind=kind, reason="OVER_LIMIT", field="amount", limit="10")
    received = convert.error_from_item(convert.error_to_item(sent))
    assert received.kind is kind
    assert (received.reason, received.message, received.field) == (
        "OVER_LIMIT",
        "too much",
        "amount",
    )
    assert received.metadata == {"limit": "10"}


def test_an_item_of_an_earlier_release_is_of_the_kind_its_reader_expects() -> None:
    received = convert.error_from_item(verdict_pb2.ItemError(reason="X"), ErrorKind.NOT_FOUND)
    assert received.kind is ErrorKind.NOT_FOUND
