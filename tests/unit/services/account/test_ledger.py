"""What the engine promises, one promise a test."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from libs.money import AMOUNT_MINOR_MAX
from services.account.domain import errors, ledger
from services.account.domain.accounts import TURNOVER_MINOR_MAX, Balance, Role
from services.account.domain.batch import Book, Decision
from services.account.domain.commands import (
    CaptureHold,
    Command,
    ExpireHold,
    Hold,
    HoldState,
    HoldVerdict,
    PlaceHold,
    Transfer,
    TransferVerdict,
    VoidHold,
)

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAY = date(2026, 3, 2)

AVAILABLE = Balance(
    account_id="available", role=Role.MERCHANT_AVAILABLE, currency="CNY", credits_minor=100
)
PENDING = Balance(account_id="pending", role=Role.MERCHANT_PENDING, currency="CNY")
BANK = Balance(account_id="bank", role=Role.BANK_MIRROR, currency="CNY", debits_minor=100)
DOLLARS = Balance(account_id="dollars", role=Role.BANK_MIRROR, currency="USD")

PAY_OUT = Transfer(
    transfer_id="t1",
    debit_account_id="available",
    credit_account_id="bank",
    currency="CNY",
    amount_minor=40,
    reference="pout_1",
)
HOLD = Hold(
    hold_id="h1",
    debit_account_id="available",
    credit_account_id="bank",
    currency="CNY",
    amount_minor=70,
    expires_at=NOW + timedelta(hours=1),
)
HELD = replace(AVAILABLE, held_minor=70)


def decide(
    commands: Sequence[Command],
    *,
    balances: Sequence[Balance] = (AVAILABLE, PENDING, BANK, DOLLARS),
    transfers: Sequence[Transfer] = (),
    holds: Sequence[Hold] = (),
    now: datetime = NOW,
) -> Decision:
    book = Book(
        balances={balance.account_id: balance for balance in balances},
        transfers={transfer.transfer_id: transfer for transfer in transfers},
        holds={hold.hold_id: hold for hold in holds},
    )
    return ledger.decide(book, commands, now=now, booking_day=DAY)


def transfer_verdicts(decision: Decision) -> list[TransferVerdict]:
    return [verdict for verdict in decision.verdicts if isinstance(verdict, TransferVerdict)]


def hold_verdict(decision: Decision) -> HoldVerdict:
    verdict = decision.verdicts[-1]
    assert isinstance(verdict, HoldVerdict)
    return verdict


def refusal(decision: Decision) -> tuple[str, str | None] | None:
    error = decision.verdicts[-1].error
    return None if error is None else (error.reason, error.field)


def test_a_transfer_shows_how_both_accounts_stand_after_it() -> None:
    (verdict,) = transfer_verdicts(decide([PAY_OUT]))

    assert verdict.booked
    assert verdict.debit is not None
    assert verdict.credit is not None
    assert (verdict.debit.posted_minor, verdict.debit.sequence) == (60, 1)
    assert (verdict.credit.posted_minor, verdict.credit.sequence) == (60, 1)


def test_a_transfer_without_a_date_belongs_to_the_booking_day() -> None:
    (booked,) = decide([PAY_OUT]).booked

    assert booked.effective_on == DAY


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"amount_minor": 0}, "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        ({"amount_minor": -5}, "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        ({"amount_minor": AMOUNT_MINOR_MAX + 1}, "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        ({"effective_date": "2026-02-30"}, "INVALID_EFFECTIVE_DATE", "effective_date"),
        ({"effective_date": "20260302"}, "INVALID_EFFECTIVE_DATE", "effective_date"),
        ({"credit_account_id": "available"}, "SAME_ACCOUNT", "credit_account_id"),
        ({"debit_account_id": "nobody"}, "ACCOUNT_NOT_FOUND", "debit_account_id"),
        ({"credit_account_id": "nobody"}, "ACCOUNT_NOT_FOUND", "credit_account_id"),
        ({"currency": "USD"}, "CURRENCY_MISMATCH", "amount.currency"),
        ({"credit_account_id": "dollars"}, "CURRENCY_MISMATCH", "amount.currency"),
        ({"amount_minor": 101}, "INSUFFICIENT_FUNDS", "amount.amount_minor"),
    ],
)
def test_a_refused_transfer_names_reason_and_field_and_changes_nothing(
    changes: dict[str, object], reason: str, field: str
) -> None:
    decision = decide([replace(PAY_OUT, **changes)])  # type: ignore[arg-type]  # rows of a table

    assert refusal(decision) == (reason, field)
    assert not decision.balances
    assert not decision.booked


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"debit_account_id": "pending"}, "debit_account_id"),
        ({"credit_account_id": "pending"}, "credit_account_id"),
        ({"currency": "USD"}, "amount.currency"),
        ({"amount_minor": 41}, "amount.amount_minor"),
        ({"reference": "pout_2"}, "reference"),
        ({"description": "other"}, "description"),
        ({"effective_date": "2026-03-01"}, "effective_date"),
    ],
)
def test_an_id_that_is_booked_with_other_content_names_what_differs(
    changes: dict[str, object], field: str
) -> None:
    known = replace(PAY_OUT, effective_date="2026-03-02")
    asked = replace(PAY_OUT, **changes)  # type: ignore[arg-type]  # rows of a table

    assert refusal(decide([asked], transfers=[known])) == ("TRANSFER_ID_REUSED", field)


def test_a_retry_on_the_next_day_is_a_replay_though_it_names_no_date() -> None:
    known = replace(PAY_OUT, effective_date="2026-03-01")

    (verdict,) = transfer_verdicts(decide([PAY_OUT], transfers=[known]))

    assert verdict.booked
    assert verdict.replayed


def test_pending_may_fall_below_zero_because_refunds_may_exceed_the_days_sales() -> None:
    decision = decide([replace(PAY_OUT, debit_account_id="pending")])

    assert refusal(decision) is None
    assert decision.balances[0].posted_minor == -40


def test_an_account_that_has_counted_to_its_end_refuses_more() -> None:
    full = replace(BANK, credits_minor=TURNOVER_MINOR_MAX - 39)

    decision = decide([PAY_OUT], balances=[AVAILABLE, full])

    assert refusal(decision) == ("BALANCE_OVERFLOW", None)


def test_one_bad_link_fails_the_chain_but_not_its_neighbours() -> None:
    chain = [
        replace(PAY_OUT, transfer_id="c1", linked=True),
        replace(PAY_OUT, transfer_id="c2", credit_account_id="nobody", linked=True),
        replace(PAY_OUT, transfer_id="c3"),
    ]
    before = replace(PAY_OUT, transfer_id="b")
    after = replace(PAY_OUT, transfer_id="a", amount_minor=60)

    decision = decide([before, *chain, after])

    reasons = [verdict.error and verdict.error.reason for verdict in decision.verdicts]
    assert reasons == [None, "LINKED_FAILED", "ACCOUNT_NOT_FOUND", "LINKED_FAILED", None]
    assert [new.transfer.transfer_id for new in decision.booked] == ["b", "a"]
    assert transfer_verdicts(decision)[1].debit == replace(
        AVAILABLE, debits_minor=40, sequence=1, version=1, booked_at=NOW
    )


def test_a_link_booked_long_ago_stays_booked_when_its_new_chain_fails() -> None:
    chain = [
        replace(PAY_OUT, linked=True),
        replace(PAY_OUT, transfer_id="t2", amount_minor=1000),
    ]

    verdicts = transfer_verdicts(decide(chain, transfers=[PAY_OUT]))

    assert [verdict.booked for verdict in verdicts] == [True, False]
    assert verdicts[0].replayed


def test_a_chain_that_never_ends_is_refused_as_a_whole() -> None:
    with pytest.raises(errors.ChainOpen) as refused:
        ledger.check_chains([PAY_OUT, replace(PAY_OUT, transfer_id="t2", linked=True)])

    assert refused.value.field == "transfers[1].linked"


def test_a_hold_leaves_the_money_but_takes_it_from_what_is_available() -> None:
    decision = decide([PlaceHold(hold=HOLD), PAY_OUT])

    assert [verdict.error is None for verdict in decision.verdicts] == [True, False]
    (balance,) = decision.balances
    assert (balance.posted_minor, balance.held_minor, balance.available_minor) == (100, 70, 30)


def test_a_partial_capture_releases_the_rest() -> None:
    decision = decide(
        [CaptureHold(hold_id="h1", amount_minor=50)], balances=[HELD, BANK], holds=[HOLD]
    )

    available = decision.balances[0]
    assert (available.posted_minor, available.held_minor) == (50, 0)
    assert decision.booked[0].transfer.transfer_id == "h1:capture"
    captured = hold_verdict(decision).hold
    assert captured is not None
    assert (captured.state, captured.captured_minor) == (HoldState.CAPTURED, 50)


@pytest.mark.parametrize(
    ("amount_minor", "outcome"),
    [(70, None), (0, None), (69, ("HOLD_CAPTURED", "amount_minor"))],
)
def test_a_second_capture_is_a_replay_only_of_the_same_amount(
    amount_minor: int, outcome: tuple[str, str] | None
) -> None:
    captured = replace(HOLD, state=HoldState.CAPTURED, captured_minor=70)

    decision = decide([CaptureHold(hold_id="h1", amount_minor=amount_minor)], holds=[captured])

    assert refusal(decision) == outcome
    assert not decision.booked


@pytest.mark.parametrize(
    ("command", "holds", "outcome"),
    [
        (CaptureHold(hold_id="h1"), [], ("HOLD_NOT_FOUND", "hold_id")),
        (
            CaptureHold(hold_id="h1", amount_minor=71),
            [HOLD],
            ("CAPTURE_TOO_LARGE", "amount_minor"),
        ),
        (
            CaptureHold(hold_id="h1"),
            [replace(HOLD, state=HoldState.VOIDED)],
            ("HOLD_VOIDED", "hold_id"),
        ),
        (
            VoidHold(hold_id="h1"),
            [replace(HOLD, state=HoldState.CAPTURED, captured_minor=70)],
            ("HOLD_CAPTURED", "hold_id"),
        ),
        (
            PlaceHold(hold=replace(HOLD, amount_minor=71)),
            [HOLD],
            ("HOLD_ID_REUSED", "amount.amount_minor"),
        ),
        (
            PlaceHold(hold=replace(HOLD, hold_id="h2", amount_minor=101)),
            [],
            ("INSUFFICIENT_FUNDS", "amount.amount_minor"),
        ),
        (
            PlaceHold(hold=replace(HOLD, debit_account_id="bank", credit_account_id="pending")),
            [],
            ("ACCOUNT_NOT_HOLDABLE", "debit_account_id"),
        ),
        (PlaceHold(hold=replace(HOLD, expires_at=NOW)), [], ("HOLD_EXPIRED", "expires_at")),
    ],
)
def test_a_refused_hold_command_names_reason_and_field(
    command: Command, holds: list[Hold], outcome: tuple[str, str]
) -> None:
    decision = decide([command], holds=holds)

    assert refusal(decision) == outcome
    assert not decision.balances


def test_placing_again_is_a_replay_even_with_another_expiry() -> None:
    again = replace(HOLD, expires_at=NOW + timedelta(hours=2))

    decision = decide([PlaceHold(hold=again)], balances=[HELD, BANK], holds=[HOLD])

    assert hold_verdict(decision).hold == HOLD
    assert refusal(decision) is None
    assert not decision.balances


def test_voiding_what_was_never_placed_bars_the_late_placement() -> None:
    decision = decide([VoidHold(hold_id="h1"), PlaceHold(hold=HOLD)])

    assert decision.verdicts[0].error is None
    assert refusal(decision) == ("HOLD_VOIDED", "hold_id")
    assert [hold.is_tombstone for hold in decision.holds_new] == [True]
    assert not decision.balances


def test_a_hold_expires_at_its_moment_and_not_before() -> None:
    expire = ExpireHold(hold_id="h1")
    early = HOLD.expires_at and HOLD.expires_at - timedelta(microseconds=1)
    assert early is not None

    before = decide([expire], balances=[HELD, BANK], holds=[HOLD], now=early)
    at_last = decide([expire], balances=[HELD, BANK], holds=[HOLD], now=NOW + timedelta(hours=1))

    assert not before.holds_changed
    assert at_last.holds_changed[0].state is HoldState.EXPIRED
    assert at_last.balances[0].available_minor == 100


def test_a_capture_after_the_time_was_up_fails_though_no_worker_came_by() -> None:
    late = NOW + timedelta(hours=1)

    decision = decide([CaptureHold(hold_id="h1")], balances=[HELD, BANK], holds=[HOLD], now=late)

    assert refusal(decision) == ("HOLD_EXPIRED", "hold_id")
    assert decision.balances[0].held_minor == 0
    assert not decision.booked


def test_a_capture_whose_id_a_transfer_has_taken_is_refused() -> None:
    taken = replace(PAY_OUT, transfer_id="h1:capture")

    decision = decide(
        [CaptureHold(hold_id="h1")], balances=[HELD, BANK], holds=[HOLD], transfers=[taken]
    )

    assert refusal(decision) == ("TRANSFER_ID_REUSED", "hold_id")


@pytest.mark.parametrize("ahead", ["available", "bank"])
def test_a_booking_is_never_dated_before_the_last_one_of_either_account(ahead: str) -> None:
    later = NOW + timedelta(seconds=30)
    balances = [
        replace(balance, booked_at=later if balance.account_id == ahead else NOW)
        for balance in (AVAILABLE, BANK)
    ]

    decision = decide([PAY_OUT], balances=balances)

    assert decision.booked[0].booked_at == later
    assert {balance.booked_at for balance in decision.balances} == {later}
