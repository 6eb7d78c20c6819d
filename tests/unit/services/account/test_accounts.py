"""Opening accounts, and the trial balance."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from libs.errors import FiscError
from services.account.domain import accounts
from services.account.domain.accounts import Account, Role, TrialBalance, TrialBalanceLine

ROOT = Account(
    account_id="merchant/m/all/CNY",
    owner_id="m",
    role=Role.MERCHANT_AVAILABLE,
    currency="CNY",
    display_name="all",
    parent_id="",
    opened_at=datetime(2026, 3, 2, tzinfo=UTC),
)
CHILD = replace(ROOT, account_id="merchant/m/shop/CNY", parent_id=ROOT.account_id)


def refusal(result: Account | FiscError) -> tuple[str, str | None]:
    assert isinstance(result, FiscError)
    return result.reason, result.field


def test_a_child_may_be_opened_right_after_its_parent() -> None:
    opening = accounts.open_accounts({}, [ROOT, CHILD])

    assert opening.opened == [ROOT, CHILD]


def test_a_child_before_its_parent_is_refused() -> None:
    opening = accounts.open_accounts({}, [CHILD, ROOT])

    assert refusal(opening.results[0]) == ("PARENT_NOT_FOUND", "parent_id")
    assert opening.opened == [ROOT]


def test_an_account_that_stands_is_answered_as_it_is() -> None:
    later = replace(ROOT, opened_at=datetime(2026, 4, 1, tzinfo=UTC))

    opening = accounts.open_accounts({ROOT.account_id: ROOT}, [later, later])

    assert opening.results == [ROOT, ROOT]
    assert not opening.opened


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"owner_id": "n"}, "owner_id"),
        ({"role": Role.MERCHANT_PENDING}, "role"),
        ({"currency": "USD"}, "currency"),
        ({"display_name": "x"}, "display_name"),
        ({"parent_id": "y"}, "parent_id"),
    ],
)
def test_an_account_that_stands_differently_names_what_differs(
    changes: dict[str, object], field: str
) -> None:
    asked = replace(ROOT, **changes)  # type: ignore[arg-type]  # rows of a table

    opening = accounts.open_accounts({ROOT.account_id: ROOT}, [asked])

    assert refusal(opening.results[0]) == ("ACCOUNT_EXISTS_DIFFERENTLY", field)


def test_an_account_needs_a_real_currency_and_its_parents() -> None:
    opening = accounts.open_accounts(
        {}, [replace(ROOT, currency="ZZZ"), ROOT, replace(CHILD, currency="USD")]
    )

    assert refusal(opening.results[0]) == ("UNKNOWN_CURRENCY", "currency")
    assert refusal(opening.results[2]) == ("CURRENCY_MISMATCH", "parent_id")


def test_imbalances_of_two_currencies_do_not_cancel_out() -> None:
    line = TrialBalanceLine(
        role=Role.SUSPENSE, currency="CNY", accounts=1, debits_minor=5, credits_minor=0, entries=1
    )
    other = replace(line, currency="USD", debits_minor=0, credits_minor=5)

    assert TrialBalance(lines=[line, other]).imbalance_minor == 10
