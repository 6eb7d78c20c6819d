"""A bill with k planted faults shows exactly those k, each in its class."""

import random
from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain import matching
from services.clearing.domain.bills.model import BillLine, LineStatus
from services.clearing.domain.model import DifferenceKind, Item, ItemKind
from tests.unit.services.clearing.books import line_of, make_item, random_book

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)


def kinds_of(items: list[Item], lines: list[BillLine]) -> list[DifferenceKind]:
    return [finding.kind for finding in matching.match(items, lines).findings]


def test_equal_books_match() -> None:
    items = [make_item(number) for number in range(3)]
    result = matching.match(items, map(line_of, items))
    assert result.matched == {item.subject_id for item in items}
    assert not result.findings


def test_a_refund_under_way_that_we_do_not_have_is_no_difference() -> None:
    refund = make_item(1, kind=ItemKind.REFUND)
    assert not kinds_of([], [line_of(refund, status=LineStatus.PROCESSING)])
    assert kinds_of([refund], [line_of(refund, status=LineStatus.PROCESSING)]) == [
        DifferenceKind.STATUS
    ]


def test_a_payment_that_was_paid_and_revoked_is_a_status_difference_if_we_have_it() -> None:
    item = make_item(1)
    lines = [line_of(item), line_of(item, line_number=3, status=LineStatus.REVOKED)]
    assert kinds_of([item], lines) == [DifferenceKind.STATUS]
    assert not kinds_of([], lines)


def test_payments_and_refunds_of_one_reference_do_not_mix() -> None:
    item = make_item(1)
    refund = make_item(1, kind=ItemKind.REFUND)
    assert sorted(kinds_of([item], [line_of(refund)])) == ["LONG", "SHORT"]


def test_a_difference_is_told_with_its_figures() -> None:
    item = make_item(1, amount_minor=1_000)
    (finding,) = matching.match([item], [line_of(item, amount_minor=1_100)]).findings
    sentence = matching.describe(finding)
    assert "10.00 CNY" in sentence
    assert "11.00 CNY" in sentence
    assert item.business_date == date(2026, 3, 2)


@given(st.randoms(use_true_random=False))
def test_exactly_the_planted_faults_are_found(rng: random.Random) -> None:
    book = random_book(rng)
    result = matching.match(book.items, book.lines)
    found = {(each.item_kind, each.out_ref): each.kind for each in result.findings}
    assert found == book.planted
    assert result.matched == {
        item.subject_id for item in book.items if (item.kind, item.out_ref) not in book.planted
    }
