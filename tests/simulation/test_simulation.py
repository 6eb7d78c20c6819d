"""A share of the simulation that fits every run of the tests; `make sim` and `make planted` are the whole of it."""

import os
import subprocess
import sys

import pytest

from deploy.local.process import ROOT
from tests.simulation import planted, runner
from tests.simulation.bug import BUGS

SEEDS = 200
# Each is caught within a few seeds; the whole list is `make planted`.
PLANTED = (
    "a_capture_is_counted_twice",
    "a_late_success_is_noted_and_not_refunded",
    "a_late_refund_is_booked_the_wrong_way_round",
    "a_late_success_is_booked_twice",
    "a_return_is_ignored",
    "an_audit_record_is_altered",
    "an_unknown_outcome_fails_the_payment",
    "events_are_written_after_the_transaction",
    "the_same_request_twice_makes_two_payments",
    "what_was_settled_is_settled_again_the_next_day",
)


# All processor, no waiting: on a machine that is busy otherwise it takes as much longer.
@pytest.mark.timeout(400)
def test_no_world_loses_a_payment_or_charges_twice() -> None:
    failed = [report for report in runner.reports(range(1, SEEDS + 1)) if report.violations]
    for report in failed:
        runner.tell(report)

    assert not failed


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(name: str) -> None:
    bug = next(each for each in BUGS if each.name == name)

    assert planted.hunt(bug) is not None


def test_a_seed_decides_everything_in_every_process() -> None:
    replay = [sys.executable, "-m", "tests.simulation", "--seed", "7"]
    stories = {
        subprocess.run(
            replay,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(stories) == 1
