"""What the page says: piles of work, tiles, channel costs, ledger positions."""

from services.cockpit.domain import actions, overview, wording
from services.cockpit.domain.book import Book
from services.cockpit.domain.days import business_day
from services.cockpit.domain.readings import (
    Backlog,
    BacklogLine,
    Channel,
    Ledger,
    LedgerLine,
    Listed,
    Reading,
    Readings,
)
from tests.unit.services.cockpit.support import NOON, attempt, fact

ALL_WELL = Readings(
    channels=Reading(value=(), read_at=NOON),
    differences=Reading(value=Listed(items=()), read_at=NOON),
    backlog=Reading(value=Backlog(lines=(), events_unpushed=0), read_at=NOON),
    cases=Reading(value=Listed(items=()), read_at=NOON),
    dead_deliveries=Reading(value=Listed(items=()), read_at=NOON),
)


def tones(readings: Readings, feed_error: str = "") -> dict[str, str]:
    return {action.key: action.tone for action in actions.actions(readings, (), feed_error)}


def channel(status: str = "ENABLED", rate: float = 0.99, samples: int = 100) -> Channel:
    return Channel(
        channel_id="simpay",
        display_name="Simpay",
        status=status,
        rate_ppm=6_000,
        samples=samples,
        expected_success_rate=rate,
    )


def test_with_nothing_to_do_every_pile_is_clear() -> None:
    assert set(tones(ALL_WELL).values()) == {"clear"}


def test_what_cannot_be_read_is_unknown_rather_than_clear() -> None:
    broken = Readings(cases=Reading(error="UNAVAILABLE: gone"))

    assert tones(broken, feed_error="UNAVAILABLE: gone")["cases"] == "unknown"
    assert set(tones(broken, feed_error="UNAVAILABLE: gone").values()) == {"unknown"}


def test_unknown_outcomes_are_counted_over_all_flows_with_the_oldest_age() -> None:
    lines = tuple(
        BacklogLine(flow=flow, state=state, count=count, oldest_age_min=age)
        for flow, state, count, age in (
            ("payment", "UNKNOWN", 2, 5),
            ("payout", "UNKNOWN", 1, 75),
            ("payment", "PENDING", 9, 1),
        )
    )
    readings = Readings(backlog=Reading(value=Backlog(lines=lines, events_unpushed=0)))

    (unknown,) = [one for one in actions.actions(readings, (), "") if one.key == "unknown"]
    assert (unknown.value, unknown.note) == ("3", "being asked about; oldest 1 h 15 min")


def test_a_channel_is_in_trouble_when_closed_or_failing_with_enough_samples() -> None:
    assert actions.troubles([channel()]) == {}
    assert actions.troubles([channel(rate=0.5, samples=3)]) == {}
    assert set(actions.troubles([channel(rate=0.5)])) == {"simpay"}
    assert actions.troubles([channel(status="DRAINED")]) == {"simpay": "drained"}


def test_a_channels_expected_cost_is_its_fee_on_every_amount_that_succeeded() -> None:
    book = Book()
    for index, amount_minor in enumerate((10_000, 10_000, 99)):
        book.apply(
            fact(
                f"pay_{index}",
                amount_minor=amount_minor,
                attempts=(attempt(1, "simpay", "SUCCEEDED"),),
            )
        )

    (row,) = overview.channel_rows(book.day(business_day(NOON)), [channel()], {})

    # 0.6 % of 100.00, twice, and of 0.99: 0.60 + 0.60 + 0.01 (0.594 fen rounds to 1).
    assert row.cost_text == "1.21 CNY"


def test_positions_stand_on_their_roles_normal_side() -> None:
    ledger = Ledger(
        lines=tuple(
            LedgerLine(
                role=role, currency="CNY", accounts=1, debits_minor=debits, credits_minor=credits_
            )
            for role, debits, credits_ in (
                ("MERCHANT_PENDING", 10, 90),
                ("CHANNEL_RECEIVABLE", 100, 0),
                ("SUSPENSE", 20, 40),
            )
        ),
        imbalance_minor=0,
        transfers_count=3,
        accounts=(),
        has_more_accounts=False,
    )

    rows = overview.position_rows(ledger)

    assert [(row.label, row.position_minor, row.side) for row in rows] == [
        ("Channel receivable", 100, "Dr"),
        ("Merchant pending", 80, "Cr"),
        ("Suspense", 20, "Cr"),
    ]


def test_a_ledger_out_of_balance_is_alarming_and_an_unread_one_is_not_called_good() -> None:
    def tile(reading: Reading[Ledger]) -> overview.Tile:
        tiles = overview.tiles(Book().day(business_day(NOON)), reading, Reading())
        return next(one for one in tiles if one.key == "imbalance")

    broken = Ledger(
        lines=(), imbalance_minor=7, transfers_count=1, accounts=(), has_more_accounts=False
    )
    assert (tile(Reading(value=broken)).value, tile(Reading(value=broken)).tone) == ("7", "bad")
    assert tile(Reading(error="UNAVAILABLE: gone")).tone == "unknown"


def test_figures_read_as_people_write_them() -> None:
    assert wording.amount(123_456_789, "CNY") == "1,234,567.89"
    assert wording.amount(-500, "JPY") == "−500"
    assert wording.amount(1_500, "KWD") == "1.500"
    assert wording.amount(5, "???") == "5"
    assert wording.percent(0.99996) == "99.9 %"
    assert wording.percent(1.0) == "100 %"
    assert wording.percent(None) == "–"
    assert (wording.latency(250), wording.latency(1_500)) == ("250 ms", "1.5 s")
