"""What the on-call sees of sagas that have not ended."""

from datetime import timedelta

from prometheus_client import REGISTRY

from libs.saga import gauges
from libs.saga.table import BacklogLine
from tests.unit.libs.saga.toy import NOW


def line(state: str, count: int, age_s: float, quarantined: int = 0) -> BacklogLine:
    return BacklogLine(
        flow="errand",
        state=state,
        count=count,
        oldest_at=NOW - timedelta(seconds=age_s),
        quarantined_count=quarantined,
    )


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_the_backlog_is_shown_by_state_with_the_age_of_the_oldest() -> None:
    gauges.show([line("ASKED", 3, 10), line("WAITING", 2, 500), line("MANUAL", 1, 60)], NOW)

    assert value("saga_nonterminal", flow="errand", state="ASKED") == 3
    assert value("saga_nonterminal", flow="errand", state="WAITING") == 2
    assert value("saga_oldest_nonterminal_age_seconds", flow="errand") == 500


def test_quarantined_ones_are_summed_over_all_states() -> None:
    gauges.show([line("ASKED", 3, 10, quarantined=1), line("WAITING", 9, 5, quarantined=2)], NOW)

    assert value("saga_quarantined", flow="errand") == 3


def test_what_has_gone_is_shown_no_more() -> None:
    gauges.show([line("ASKED", 3, 10, quarantined=1)], NOW)
    gauges.show([], NOW)

    assert value("saga_nonterminal", flow="errand", state="ASKED") is None
    assert value("saga_oldest_nonterminal_age_seconds", flow="errand") is None
    assert value("saga_quarantined", flow="errand") is None
