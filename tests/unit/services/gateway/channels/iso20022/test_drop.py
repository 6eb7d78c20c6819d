"""A directory shared with a bank: nothing half-written is read, nothing is sent twice, whatever dies when."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs import markup
from services.gateway.channels.iso20022 import classify, drop
from services.gateway.channels.iso20022.drop import Drop, OrderConflict
from services.gateway.channels.iso20022.settings import Settings
from services.gateway.domain.channel import OutcomeKind, PayoutOrder

MakeOrder = Callable[..., PayoutOrder]
MakeSettings = Callable[..., Settings]
STATUS = """<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>
<GrpHdr><CreDtTm>2026-11-11T10:00:00Z</CreDtTm></GrpHdr><OrgnlGrpInfAndSts><OrgnlMsgId>{message}</OrgnlMsgId>
<GrpSts>{status}</GrpSts></OrgnlGrpInfAndSts></CstmrPmtStsRpt></Document>"""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("inbox", "outbox"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def make(root: Path, make_settings: MakeSettings) -> Callable[..., Drop]:
    def made(**changes: str) -> Drop:
        return Drop(
            root, make_settings(**{"batch_count_max": "3", "batch_window_ms": "60000", **changes})
        )

    return made


def sent(root: Path) -> list[list[str]]:
    """The numbers in each file before the bank."""
    found = []
    for path in sorted((root / "outbox").glob("*.xml")):
        content = path.read_bytes()
        checksum = path.with_name(path.name + ".sha256").read_text()
        assert checksum == f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
        tree = markup.parse(content)
        found.append(
            [
                each.text
                for each in tree.all(
                    "CstmrCdtTrfInitn", "PmtInf", "CdtTrfTxInf", "PmtId", "EndToEndId"
                )
            ]
        )
    return found


def tell(root: Path, name: str, content: bytes, *, checksum: str | None = "right") -> Path:
    path = root / "inbox" / name
    path.write_bytes(content)
    if checksum is not None:
        stated = hashlib.sha256(content).hexdigest() if checksum == "right" else checksum
        path.with_name(name + ".sha256").write_text(stated)
    return path


def test_orders_leave_when_enough_have_come_or_the_window_closes(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    box = make()
    for number in range(4):
        box.accept(make_order(f"p{number}"), now())
    assert sent(root) == [["p0", "p1", "p2"]]
    waiting, gone = box.place("p3"), box.place("p0")
    assert waiting is not None
    assert gone is not None
    assert (waiting.is_handed_over, gone.is_handed_over) == (False, True)
    box.hand_over(now() + timedelta(seconds=59))
    assert len(sent(root)) == 1
    box.hand_over(now() + timedelta(seconds=61))
    assert ["p3"] in sent(root)
    assert box.place("p9") is None


def test_a_number_is_taken_in_once(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    box = make(batch_count_max="1")
    box.accept(make_order("p1"), now())
    box.accept(make_order("p1"), now())
    for path in (root / "outbox").iterdir():
        path.unlink()  # the bank took it
    make(batch_count_max="1").accept(make_order("p1"), now())
    make().hand_over(now(), is_forced=True)
    assert sent(root) == []
    with pytest.raises(OrderConflict):
        box.accept(make_order("p1", amount_minor=1), now())


@pytest.mark.parametrize("number", ["../../etc/passwd", ".hidden", "a/b", "x" * 400, "", "货款"])
def test_a_number_is_never_a_path(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder, number: str
) -> None:
    before = set(root.parent.iterdir())
    box = make(batch_count_max="1")
    box.accept(make_order(number), now())
    assert box.place(number) is not None
    assert set(root.parent.iterdir()) == before
    assert {path.parent for path in (root / "own" / "orders").rglob("*")} == {
        root / "own" / "orders"
    }


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", range(14))
def test_whatever_line_it_dies_at_every_order_leaves_in_exactly_one_message(
    root: Path,
    make: Callable[..., Drop],
    make_order: MakeOrder,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """Every change of the directory is a rename or a link: the process dies before the one numbered `step`."""
    changes = iter(range(1000))

    def dying(inner: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            if next(changes) == step:
                raise Died
            return inner(*arguments, **named)

        return act

    box = make(batch_count_max="2")
    box.accept(make_order("p1"), now())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(os, "link", dying(os.link))
        with contextlib.suppress(Died):
            box.accept(make_order("p2"), now())
    again = make(batch_count_max="2")
    again.accept(make_order("p2"), now())
    again.hand_over(now(), is_forced=True)
    again.hand_over(now(), is_forced=True)
    assert sorted(number for message in sent(root) for number in message) == ["p1", "p2"]
    for number in ("p1", "p2"):
        place = again.place(number)
        assert place is not None
        assert place.is_handed_over


def test_a_file_is_read_only_when_it_fits_its_checksum(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    box = make(batch_count_max="1")
    box.accept(make_order("p1"), now())
    whole = STATUS.format(message="p1", status="ACSC").encode()
    path = tell(root, "a.xml", whole[:-20], checksum=hashlib.sha256(whole).hexdigest())
    tell(root, "b.xml", whole, checksum=None)
    tell(root, ".c.xml", whole)
    assert box.collect(now()) == 0
    assert box.facts("p1") == []
    path.write_bytes(whole)
    assert box.collect(now()) == 1
    told = classify.fold(box.facts("p1"), "p1")
    assert told is not None
    assert told.kind is OutcomeKind.SUCCEEDED
    assert not path.exists()
    assert len(list((root / "own" / "read").iterdir())) == 1


def test_without_checksums_a_file_must_have_been_left_alone(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    box = make(batch_count_max="1", checksums_required="false")
    tell(root, "a.xml", STATUS.format(message="p1", status="ACSC").encode(), checksum=None)
    assert box.collect(now()) == 0
    assert box.collect(now() + timedelta(seconds=drop.QUIET_S + 1)) == 1


def test_the_same_file_twice_says_the_same_once(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    box = make(batch_count_max="1")
    box.accept(make_order("p1"), now())
    for name in ("a.xml", "b.xml"):
        tell(root, name, STATUS.format(message="p1", status="ACSP").encode())
    assert box.collect(now()) == 2
    assert len(box.facts("p1")) == 1


def test_what_cannot_be_read_is_kept_with_the_reason_and_holds_nothing_up(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    box = make(batch_count_max="1")
    box.accept(make_order("p1"), now())
    bad = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    tell(root, "a.xml", bad)
    tell(root, "b.xml", STATUS.format(message="p1", status="ACSC").encode())
    (root / "inbox" / "c.xml").symlink_to("/etc/passwd")
    box.collect(now())
    assert len(box.facts("p1")) == 1
    kept = sorted((root / "own" / "refused").iterdir())
    assert [path.read_bytes() for path in kept] == [bad, b"a DOCTYPE is not read"]
    stale = tell(root, "d.xml", b"<a", checksum="0" * 64)
    assert box.collect(now() + timedelta(seconds=drop.TORN_MAX_S + 1)) == 0
    assert not stale.exists()


def test_several_at_once_take_each_order_in_once(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    def work() -> None:
        box = make(batch_count_max="4")
        for number in range(20):
            box.accept(make_order(f"p{number:02d}"), now())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    make().hand_over(now(), is_forced=True)
    numbers = sorted(number for message in sent(root) for number in message)
    assert numbers == [f"p{number:02d}" for number in range(20)]


def test_an_order_that_left_while_its_taker_was_dead_is_known_ever_after(
    root: Path,
    make: Callable[..., Drop],
    make_order: MakeOrder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", die)
        with pytest.raises(Died):
            make().accept(make_order("p1"), now())
    other = make()
    other.hand_over(now(), is_forced=True)
    assert sent(root) == [["p1"]]
    other.accept(make_order("p1"), now())
    other.hand_over(now(), is_forced=True)
    assert sent(root) == [["p1"]]
    assert other.place("p1") is not None


def test_a_link_is_not_followed_out_of_the_directory(
    root: Path, make: Callable[..., Drop], make_order: MakeOrder
) -> None:
    box = make(batch_count_max="1")
    box.accept(make_order("p1"), now())
    outside = root / "outside.xml"
    outside.write_bytes(STATUS.format(message="p1", status="ACSC").encode())
    path = tell(root, "a.xml", outside.read_bytes())
    path.unlink()
    path.symlink_to(outside)
    assert box.collect(now()) == 0
    assert box.facts("p1") == []
