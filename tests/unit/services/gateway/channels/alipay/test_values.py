"""Yuan and fen, Beijing and UTC."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.money import AMOUNT_MINOR_MAX
from services.gateway.channels.alipay import values
from services.gateway.channels.answers import Malformed


@given(fen=st.integers(0, AMOUNT_MINOR_MAX - 1))
def test_fen_survive_being_written_as_yuan(fen: int) -> None:
    assert values.amount({"a": values.yuan(fen)}, "a") == fen


@pytest.mark.parametrize(
    ("text", "fen"), [("88", 8800), ("45.0", 4500), ("45.1", 4510), ("0.01", 1), ("007", 700)]
)
def test_yuan_are_read_with_fewer_decimals_too(text: str, fen: int) -> None:
    assert values.amount({"a": text}, "a") == fen


@pytest.mark.parametrize(
    "value", ["", "-1.00", "1.001", "1e2", "１", "1,000.00", " 1", "9" * 14, 12.3, 12, None, True]
)
def test_what_is_no_plain_amount_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        values.amount({"a": value}, "a")


@given(seconds=st.integers(86_400, 7_000_000_000))
def test_an_instant_survives_beijings_clocks(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    written = values.beijing(moment)
    assert values.optional_instant({"t": written}, "t") == moment


@pytest.mark.parametrize(
    "text", ["2026-02-30 00:00:00", "0001-01-01 00:00:00", "2026-11-11", "2026-11-11T12:00:00", "x"]
)
def test_what_is_no_time_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        values.optional_instant({"t": text}, "t")


def test_what_alipay_left_out_is_none() -> None:
    assert values.optional_instant({}, "t") is None
    assert values.optional_amount({}, "a") is None
