"""Page sizes and tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.account.domain import errors, paging

NUL = paging.token(("entries", "a"), "\x00")
SURROGATE = paging.token(("entries", "a"), "\ud800")
_texts = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=40)


@given(st.lists(_texts, max_size=3).map(tuple), _texts)
def test_a_token_leads_back_to_where_its_page_ended(question: tuple[str, ...], last: str) -> None:
    assert paging.last_of(question, paging.token(question, last)) == last


@pytest.mark.parametrize(
    "page_token",
    [
        "%%%",
        "bm90IGpzb24",
        "W10",
        "WzFd",
        paging.token(("other",), "7"),
        "W" * 5000,
        NUL,
        SURROGATE,
    ],
)
def test_a_token_of_another_question_or_of_nobody_is_refused(page_token: str) -> None:
    with pytest.raises(errors.InvalidPageToken) as refused:
        paging.last_of(("entries", "a"), page_token)

    assert refused.value.field == "page_token"


@pytest.mark.parametrize(("asked", "size"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000)])
def test_the_page_size_has_a_default_and_a_ceiling(asked: int, size: int) -> None:
    assert paging.page_size(asked) == size


@pytest.mark.parametrize("last", ["", "-1", "1e3", "٣", "9" * 19])
def test_a_statement_goes_on_only_after_a_number(last: str) -> None:
    with pytest.raises(errors.InvalidPageToken):
        paging.to_sequence(last)
