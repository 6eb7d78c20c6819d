"""XML from outside: what is read, and what it can ask for in vain."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs import markup
from libs.markup import MarkupInvalid, node

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + b"".join(
        b'<!ENTITY lol%d "%s">'
        % (level, b"&lol%d;" % (level - 1) * 10 if level > 1 else b"&lol;" * 10)
        for level in range(1, 12)
    )
    + b"]><lolz>&lol11;</lolz>"
)


def test_names_come_without_their_namespace_which_stands_beside_them() -> None:
    root = markup.parse(
        b'<a:x xmlns:a="urn:one" xmlns="urn:two" a:k="v"><y> t&amp;\xc3\xa9 </y></a:x>'
    )
    assert (root.name, root.namespace, root.attributes) == ("x", "urn:one", {"k": "v"})
    assert root.value("y") == "t&é"
    assert root.value("y", "z") == ""
    assert [each.name for each in root.all("y")] == ["y"]


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><a/>',
        b"<!DOCTYPE a><a/>",
        b"<a>&unknown;</a>",
    ],
)
def test_nothing_is_expanded_and_nothing_fetched(content: bytes) -> None:
    started_s = time.perf_counter()
    with pytest.raises(MarkupInvalid):
        markup.parse(content)
    assert time.perf_counter() - started_s < 0.5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"\xff\xfe<",
        b"<a>\x00</a>",
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        b'<?xml version="1.0" encoding="koi8-r"?><a/>',
        b"<a>" * (markup.DEPTH_MAX + 1) + b"</a>" * (markup.DEPTH_MAX + 1),
        b"<a>" + b"x" * (markup.TEXT_LENGTH_MAX + 1) + b"</a>",
        b"<a " + b" ".join(b'k%d=""' % number for number in range(40)) + b"/>",
        b'<a k="' + b"x" * (markup.TEXT_LENGTH_MAX + 1) + b'"/>',
    ],
)
def test_what_is_not_xml_or_too_much_of_it_is_refused(content: bytes) -> None:
    with pytest.raises(MarkupInvalid):
        markup.parse(content)


def test_bytes_and_elements_are_bounded() -> None:
    assert markup.parse(b"<a><b/></a>", elements_max=2).find("b") is not None
    with pytest.raises(MarkupInvalid):
        markup.parse(b"<a><b/></a>", elements_max=1)
    with pytest.raises(MarkupInvalid):
        markup.parse(b"<a><b/></a>", bytes_max=5)


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=300)
    | st.text(alphabet="<>/&;!?[]='ab \n", max_size=80).map(str.encode)
)
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with contextlib.suppress(MarkupInvalid):
        markup.parse(content)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80), value=st.text(max_size=40))
def test_what_is_written_reads_back_but_for_what_xml_cannot_say(text: str, value: str) -> None:
    root = markup.parse(markup.write(node("a", node("b", text, Ccy=value)), namespace="urn:x"))
    said = "".join(
        each
        for each in text
        if each in "\t\n\r"
        or " " <= each < "\ud800"
        or "\ue000" <= each <= "\ufffd"
        or each > "\uffff"
    )
    found = root.find("b")
    assert found is not None
    assert root.namespace == found.namespace == "urn:x"
    assert found.text == said.replace("\r\n", "\n").replace("\r", "\n")


def test_elements_that_are_taken_are_handed_over_as_they_end_and_not_kept() -> None:
    taken: list[tuple[str, str]] = []
    content = b"<a><b><c>1</c></b><b><c>2</c><d/></b></a>"
    root = markup.parse(
        content,
        take={
            "c": lambda element: taken.append((element.name, element.text)),
            "b": lambda element: taken.append((element.name, str(len(element.children)))),
        },
    )
    assert taken == [("c", "1"), ("b", "0"), ("c", "2"), ("b", "1")]
    assert root.children == []
