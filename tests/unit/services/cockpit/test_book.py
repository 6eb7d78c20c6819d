"""What a sequence of events makes of the day's figures."""

from datetime import UTC, date, datetime, timedelta

from services.cockpit.domain.book import Book
from services.cockpit.domain.facts import Fact, Kind
from tests.unit.services.cockpit.support import NOON, attempt, fact

DAY = date(2026, 11, 20)


def book_of(*facts: Fact) -> Book:
    book = Book()
    for one in facts:
        book.apply(one)
    return book


def test_a_payment_counts_once_on_its_way_from_created_to_succeeded() -> None:
    book = Book()
    for version, state in enumerate(("PROCESSING", "PENDING", "SUCCEEDED"), start=1):
        book.apply(fact("pay_1", state, version=version))

    payments = book.day(DAY).kinds[Kind.PAYMENT]

    assert (payments.total, payments.succeeded, payments.ended) == (1, 1, 1)
    assert payments.volume["CNY"] == 10_000
    assert book.day(DAY).hours[12].succeeded == 1


def test_replaying_the_whole_feed_changes_nothing() -> None:
    facts = [
        fact("pay_1", "PROCESSING", version=1, attempts=(attempt(1, "simpay", "SENT", 0),)),
        fact("pay_1", version=2, attempts=(attempt(1, "simpay", "SUCCEEDED"),)),
        fact("pay_2", "FAILED", attempts=(attempt(1, "simpay", "DECLINED"),)),
        fact("ref_1", kind=Kind.REFUND, amount_minor=2_500),
        fact("pout_1", kind=Kind.PAYOUT, attempts=(attempt(1, "bank", "SUCCEEDED"),)),
    ]
    book = book_of(*facts)
    before = book.day(DAY)

    assert not any(book.apply(one) for one in facts)
    assert book.day(DAY) == before == book_of(*facts, *facts).day(DAY)


def test_an_older_version_never_overwrites_a_newer_one() -> None:
    book = book_of(fact("pay_1", version=5), fact("pay_1", "PENDING", version=4))

    assert book.day(DAY).kinds[Kind.PAYMENT].states == {"SUCCEEDED": 1}


def test_the_business_day_turns_at_midnight_in_shanghai() -> None:
    midnight = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
    book = book_of(fact("pay_1", at=midnight - timedelta(seconds=1)), fact("pay_2", at=midnight))

    assert book.days() == [date(2026, 11, 21), DAY]
    assert book.day(DAY).hours[23].succeeded == 1
    assert book.day(date(2026, 11, 21)).hours[0].succeeded == 1


def test_a_payment_paid_after_midnight_moves_to_the_day_it_was_paid() -> None:
    book = book_of(
        fact("pay_1", "PENDING", version=1),
        fact("pay_1", version=2, created_at=NOON, succeeded_at=NOON + timedelta(hours=13)),
    )

    assert book.day(DAY).kinds[Kind.PAYMENT].total == 0
    assert book.days() == [date(2026, 11, 21)]


def test_the_latest_day_is_one_on_which_money_moved() -> None:
    book = book_of(fact("pay_1"), fact("pay_2", "PENDING", at=NOON + timedelta(days=3)))

    assert book.latest_day() == DAY
    assert Book().latest_day() is None


def test_failures_of_a_replayed_day_stand_beside_its_successes() -> None:
    today = NOON + timedelta(days=5)
    book = book_of(
        fact("pay_1", at=today, succeeded_at=NOON),
        fact("pay_2", "FAILED", at=today + timedelta(minutes=2)),
    )

    assert book.days() == [DAY]
    assert book.day(DAY).kinds[Kind.PAYMENT].ended == 2


def test_a_payment_confirmed_late_says_nothing_about_the_channels_clock() -> None:
    later = NOON + timedelta(days=1)
    book = book_of(
        fact("pay_1", created_at=NOON, updated_at=later, succeeded_at=NOON),
        fact("pay_2", "FAILED", at=later),
    )

    assert book.days() == [date(2026, 11, 21), DAY]


def test_a_failover_counts_and_each_channel_gets_its_own_attempt() -> None:
    book = book_of(
        fact(
            "pay_1",
            "PROCESSING",
            version=1,
            attempts=(attempt(1, "simpay", "SENT", 0),),
        ),
        fact(
            "pay_1",
            version=3,
            attempts_count=2,
            attempts=(attempt(1, "simpay", "DECLINED", 80), attempt(2, "wechat", "SUCCEEDED", 200)),
        ),
    )
    figures = book.day(DAY)

    assert (figures.failovers, figures.failovers_succeeded) == (1, 1)
    assert (figures.channels["simpay"].answered, figures.channels["simpay"].succeeded) == (1, 0)
    assert figures.channels["wechat"].latency_p50_ms() == 200


def test_the_median_latency_is_the_lower_of_the_two_in_the_middle() -> None:
    book = book_of(
        *(
            fact(f"pay_{index}", attempts=(attempt(1, "simpay", "SUCCEEDED", latency_ms),))
            for index, latency_ms in enumerate((900, 100, 300, 200))
        )
    )

    assert book.day(DAY).channels["simpay"].latency_p50_ms() == 200


def test_manual_payments_wait_until_they_are_decided() -> None:
    book = book_of(fact("pay_1", "MANUAL", version=2), fact("pay_2", "MANUAL", version=2))
    book.apply(fact("pay_1", "SUCCEEDED", version=3))

    assert [record.fact.subject_id for record in book.manual()] == ["pay_2"]


def test_old_days_are_forgotten_but_what_waits_for_a_person_is_not() -> None:
    book = Book(days_max=2)
    book.apply(fact("pay_0", "MANUAL"))
    for age in range(4):
        book.apply(fact(f"pay_{age + 1}", at=NOON + timedelta(days=age)))

    assert book.days() == [date(2026, 11, 23), date(2026, 11, 22)]
    assert [record.fact.subject_id for record in book.manual()] == ["pay_0"]
    book.apply(fact("pay_9"))
    assert DAY not in book.days()


def test_latest_payments_come_first_and_hold_no_refunds() -> None:
    book = book_of(
        fact("pay_1", version=1), fact("pay_2"), fact("ref_1", kind=Kind.REFUND), fact("pay_1")
    )

    shown = [record.fact.subject_id for record in book.latest_payments(DAY, 10)]
    assert shown == ["pay_1", "pay_2"]
    assert len(book.latest_payments(DAY, 1)) == 1
