"""Log lines are JSON, and hold no secret and no card number."""

import dataclasses
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import structlog

from libs import log

# Well-known test numbers of the card schemes, which no bank has given out.
VISA = "4111111111111111"
UNIONPAY_19 = "6205500000000000004"


@dataclasses.dataclass
class Credentials:
    name: str
    api_secret: str


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written)
    monkeypatch.setattr(sys, "stdout", stdout)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.configure("router", "INFO", "json")

    yield lambda: [orjson.loads(line) for line in written.getvalue().splitlines()]

    stdout.detach()
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level


Lines = Callable[[], list[dict[str, Any]]]


def test_a_line_says_when_who_how_grave_and_what(lines: Lines) -> None:
    log.get_logger(channel="boc").info("channel opened", attempts=2)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "service": "router",
        "level": "info",
        "event": "channel opened",
        "channel": "boc",
        "attempts": 2,
    }


def test_values_under_telling_keys_are_masked_at_any_depth(lines: Lines) -> None:
    log.get_logger().info(
        "called",
        Authorization="Bearer hush",
        apiKey="hush",
        request={"client_secret": "hush", "items": [{"card_no": "hush"}]},
        credentials=[Credentials("boc", "hush")],
        channel=Credentials("boc", "hush"),
        discard_count=3,
        company="kept",
    )
    (line,) = lines()
    assert b"hush" not in orjson.dumps(line)
    assert line["discard_count"] == 3
    assert line["company"] == "kept"
    assert line["channel"]["name"] == "boc"


@pytest.mark.parametrize(
    "number", [VISA, UNIONPAY_19, "4111 1111 1111 1111", "4111-1111-1111-1111"]
)
def test_card_numbers_are_masked_wherever_they_stand(lines: Lines, number: str) -> None:
    log.get_logger().info(f"pays with {number}.", note=[f"<{number}>"], x=(number,))
    (line,) = lines()
    assert number not in orjson.dumps(line).decode()
    assert line["x"] == [f"***{number[-4:]}"]


def test_a_card_number_in_an_exception_is_masked(lines: Lines) -> None:
    try:
        int(f"cannot charge {VISA}")
    except ValueError:
        log.get_logger().exception("charge failed")
    (line,) = lines()
    assert "cannot charge ***1111" in line["exception"]


@pytest.mark.parametrize("number", ["4111111111111112", "411111111111", "41111111111111110000"])
def test_other_numbers_stay(lines: Lines, number: str) -> None:
    log.get_logger().info("paid", reference=number)
    assert lines()[0]["reference"] == number


def test_raw_bytes_are_never_shown(lines: Lines) -> None:
    log.get_logger().info("received", body=b"hush")
    assert lines()[0]["body"] == "<4 bytes>"


def test_other_libraries_log_the_same_way_from_warning_on(lines: Lines) -> None:
    logging.getLogger("alembic").info("chatter")
    logging.getLogger("grpc").warning("card %s refused", VISA)
    (line,) = lines()
    assert line["event"] == "card ***1111 refused"
    assert (line["level"], line["source"]) == ("warning", "grpc")


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    log.get_logger().debug("detail")
    assert lines() == []


@pytest.mark.usefixtures("lines")
def test_the_console_masks_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    log.configure("router", "INFO", "console")
    log.get_logger().info("paid", card_no=VISA)
    assert "paid" in shown.getvalue()
    assert "1111" not in shown.getvalue()
