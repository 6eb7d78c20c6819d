"""Page sizes and tokens."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import ErrorKind
from libs.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, InvalidPageToken, PageRequest

_texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()


@given(st.sets(_texts.filter(bool)), st.integers(1, 4), st.lists(_texts, max_size=3))
def test_the_pages_together_are_the_list(keys: set[str], size: int, question: list[str]) -> None:
    everything, seen, token = sorted(keys), list[str](), ""
    while True:
        asked = PageRequest(size, token).about(*question)
        rows = [key for key in everything if key > asked.after][: asked.limit]
        page = asked.page(rows, str)
        assert len(page.items) <= size
        seen += page.items
        token = page.next_token
        if not token:
            break
        assert len(page.items) == size
    assert seen == everything


def test_a_full_last_page_has_no_next_token() -> None:
    request = PageRequest(2, "")
    assert request.page(["a", "b"], str).next_token == ""
    assert request.page(["a", "b", "c"], str).next_token
    assert list(request.page(["a", "b", "c"], str).items) == ["a", "b"]


@pytest.mark.parametrize(
    ("asked", "size"),
    [(0, PAGE_SIZE_DEFAULT), (1, 1), (PAGE_SIZE_MAX, PAGE_SIZE_MAX), (PAGE_SIZE_MAX + 1, 1_000)],
)
def test_the_page_size_has_a_default_and_a_ceiling(asked: int, size: int) -> None:
    request = PageRequest(asked, "")
    assert request.limit == size + 1
    assert len(request.page(range(size + 1), str).items) == size


@pytest.mark.parametrize(
    "token",
    [
        "%%%",
        "é",
        "日",
        "x",
        "nonsense",
        " ",
        encoded(b"a"),
        encoded(b"\0a"),
        encoded(b"after"),
        encoded(b"after:a"),
        encoded(b"after\0a\0b"),
        encoded(b"after\0\xff"),
        encoded(b"after\0\xed\xa0\x80"),  # a lone surrogate
        encoded(b"after\0a") + "\0",
    ],
)
def test_a_token_of_nobody_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken) as refused:
        _ = PageRequest(0, token).after
    assert (refused.value.kind, refused.value.reason, refused.value.field) == (
        ErrorKind.INVALID,
        "INVALID_PAGE_TOKEN",
        "page_token",
    )


@pytest.mark.parametrize("question", [(), ("entries",), ("entries", "b"), ("entries", "a", "")])
def test_a_token_of_another_question_is_refused(question: tuple[str, ...]) -> None:
    token = PageRequest(1, "").about("entries", "a").page(["1", "2"], str).next_token
    assert PageRequest(1, token).about("entries", "a").after == "1"
    with pytest.raises(InvalidPageToken):
        _ = PageRequest(1, token).about(*question).after
