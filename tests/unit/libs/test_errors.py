"""An error says what kind it is, why, and what the caller may do."""

import pytest

from libs.errors import DeadlineExceeded, ErrorKind, FiscError, Overloaded, RemoteError


class ChannelClosed(FiscError):
    """The channel is closed today.

    More for the reader of the code, nothing for the caller.
    """

    kind = ErrorKind.REJECTED
    reason = "CHANNEL_CLOSED"


class Wordless(FiscError):
    reason = "WORDLESS"


def test_the_first_line_of_the_docstring_is_the_default_message() -> None:
    assert str(ChannelClosed()) == "The channel is closed today."
    assert ChannelClosed("Closed for the holiday.").message == "Closed for the holiday."


def test_an_error_without_words_gives_its_reason() -> None:
    assert Wordless().message == "WORDLESS"


def test_an_error_carries_field_retry_hint_and_metadata() -> None:
    error = ChannelClosed(field="channel", retry_after_s=3.5, channel="boc")
    assert (error.field, error.retry_after_s) == ("channel", 3.5)
    assert error.metadata == {"channel": "boc"}


def test_a_remote_error_is_what_the_other_service_said() -> None:
    error = RemoteError("no", kind=ErrorKind.DENIED, reason="BLOCKED", rule="r1")
    assert (error.kind, error.reason, error.metadata) == (
        ErrorKind.DENIED,
        "BLOCKED",
        {"rule": "r1"},
    )
    assert RemoteError.reason == "INTERNAL"


@pytest.mark.parametrize(
    ("error", "retryable"), [(Overloaded(), True), (DeadlineExceeded(), True), (Wordless(), False)]
)
def test_only_what_may_pass_is_worth_a_retry(error: FiscError, retryable: bool) -> None:
    assert error.kind.retryable is retryable
