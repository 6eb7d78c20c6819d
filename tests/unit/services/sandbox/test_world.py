"""Chance, the clocks, the fault board and the keys: the parts without a wire."""

import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.sandbox.book import Book
from services.sandbox.chance import Chance
from services.sandbox.clock import SHANGHAI, BusinessClock, parse_day, real_now
from services.sandbox.faults import FaultBoard
from services.sandbox.wechat import signing


@pytest.fixture
def board(tmp_path: Path) -> FaultBoard:
    return FaultBoard(Book(tmp_path / "book.sqlite3"), BusinessClock())


def test_chance_is_a_function_of_seed_account_reference_and_question() -> None:
    one, same, other = Chance("a"), Chance("a"), Chance("b")
    assert one.fraction("acc", "ref", "q") == same.fraction("acc", "ref", "q")
    drawn = {
        one.fraction("acc", "ref", "q"),
        other.fraction("acc", "ref", "q"),
        one.fraction("acc2", "ref", "q"),
        one.fraction("acc", "ref2", "q"),
        one.fraction("acc", "ref", "q2"),
    }
    assert len(drawn) == 5


def test_chance_is_fair_and_keeps_its_bounds() -> None:
    chance = Chance("seed")
    drawn = [chance.fraction("acc", f"ref_{number}", "q") for number in range(4000)]
    assert 0.47 < sum(drawn) / len(drawn) < 0.53
    waits = {chance.between_ms("acc", f"ref_{number}", "w", (3, 5)) for number in range(100)}
    assert waits == {3, 4, 5}


def test_the_business_clock_runs_on_from_where_it_was_set() -> None:
    offsets: list[int] = []
    clock = BusinessClock(on_change=offsets.append)
    moment = parse_moment("2031-05-04T23:59:58")
    clock.set(moment)
    assert timedelta(0) <= clock.now() - moment <= timedelta(seconds=1)
    assert BusinessClock(offsets[-1]).today() == clock.today() == parse_day("2031-05-04")
    clock.set(None)
    assert abs(clock.now() - real_now()) < timedelta(seconds=2)


def parse_moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


@pytest.mark.parametrize("days", [-400, 0, 400])
def test_a_deadline_may_be_told_by_either_clock(days: int) -> None:
    clock = BusinessClock()
    clock.set(real_now() + timedelta(days=days))
    for reference in (real_now(), clock.now()):
        assert 895 < clock.remaining_s(reference + timedelta(minutes=15)) <= 900
    assert clock.remaining_s(real_now() - timedelta(days=500)) == 0


@pytest.mark.parametrize("text", ["20261111", "2026-11-1", "2026-W46-3", "tomorrow", ""])
def test_a_day_is_written_one_way_only(text: str) -> None:
    with pytest.raises(ValueError):
        parse_day(text)


def test_a_fault_strikes_its_account_and_reference_as_often_as_ordered(board: FaultBoard) -> None:
    board.add(account_id="a", fault="down", out_ref="r", count=2)
    assert board.take("b", "down", "charge", "r") is None
    assert board.take("a", "down", "charge", "other") is None
    assert [board.take("a", "down", "query", "r") is not None for _ in range(3)] == [1, 1, 0]
    assert len(board.fired("a")) == 2


def test_an_untargeted_hidden_charge_is_not_used_up_by_a_refund(board: FaultBoard) -> None:
    board.add(account_id="a", fault="timeout_after_charge", count=1)
    assert board.take("a", "timeout_after_charge", "refund", "r") is None
    assert board.take("a", "timeout_after_charge", "charge", "p")


def test_only_an_endless_fault_counts_as_standing(board: FaultBoard) -> None:
    board.add(account_id="a", fault="down", count=5)
    assert not board.stands("a", "down")
    board.add(account_id="a", fault="down")
    assert board.stands("a", "down")
    assert board.clear("a") == 2
    assert not board.stands("a", "down")


def test_the_platform_key_is_made_once_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "key.pem"
    first, second = signing.PlatformKey(path), signing.PlatformKey(path)
    assert first.public_key_pem == second.public_key_pem
    assert first.public_key_id == second.public_key_id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_probe_signature_never_verifies(tmp_path: Path) -> None:
    key = signing.PlatformKey(tmp_path / "key.pem")
    assert signing.verify_merchant(key.public_key_pem, b"m", key.sign(b"m"))
    assert not signing.verify_merchant(key.public_key_pem, b"m", signing.probe_signature())
    assert not signing.verify_merchant(key.public_key_pem, b"x", key.sign(b"m"))
