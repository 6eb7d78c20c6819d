"""When faults are forgotten, and when a row is tried again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.saga import flow
from tests.unit.libs.saga import toy
from tests.unit.libs.saga.toy import NOW, Command, State

BEFORE = replace(toy.open_errand().subject, faults_count=3, last_fault="it broke")


@pytest.mark.parametrize(
    ("state", "command", "is_forgotten"),
    [
        # Asking again from where it stood has got nowhere yet.
        (State.ASKED, Command.ASK, False),
        (State.ASKED, None, True),
        (State.WAITING, Command.ASK, True),
        (State.WAITING, None, True),
    ],
)
def test_faults_are_forgotten_only_when_a_row_rests_or_reaches_another_state(
    state: State, command: Command | None, is_forgotten: bool
) -> None:
    after = replace(BEFORE, state=state)

    step: toy.ErrandStep = flow.Step(subject=after, command=command)

    saved = flow.arrived(step, BEFORE, NOW)

    kept = (0, "") if is_forgotten else (3, "it broke")
    assert (saved.subject.faults_count, saved.subject.last_fault) == kept


@pytest.mark.parametrize(("faults_count", "lease_s"), [(1, 8), (2, 16), (3, 32), (6, 256)])
def test_what_got_nowhere_again_keeps_the_lease_of_its_claim(
    faults_count: int, lease_s: int
) -> None:
    before = replace(BEFORE, faults_count=faults_count)
    asking: toy.ErrandStep = flow.Step(
        subject=replace(before, next_run_at=flow.leased_until(NOW)), command=Command.ASK
    )

    saved = flow.arrived(asking, before, NOW)

    # Whoever takes it up after a crash must not do so at once, claim after claim.
    assert saved.subject.next_run_at == NOW + timedelta(seconds=lease_s)
    assert flow.leased_until(NOW, faults_count) == saved.subject.next_run_at


def test_what_rests_in_the_end_is_due_when_it_says() -> None:
    later = NOW + timedelta(seconds=toy.RETRY_S)
    resting: toy.ErrandStep = flow.Step(subject=replace(BEFORE, next_run_at=later))

    assert flow.arrived(resting, BEFORE, NOW).subject.next_run_at == later


def test_what_was_never_taken_up_again_has_one_lease() -> None:
    assert flow.leased_until(NOW) == flow.leased_until(NOW, 0) == flow.leased_until(NOW, 1)
    assert flow.leased_until(NOW) == NOW + timedelta(seconds=flow.LEASE_S)


def test_a_step_without_faults_is_saved_as_it_is() -> None:
    step = toy.open_errand()

    assert flow.arrived(step, step.subject, NOW) is step


def test_tries_follow_soon_at_first_and_then_by_the_last_delay_for_ever() -> None:
    delays_s = (1, 5, 60)
    waits_s = [(flow.next_try_at(delays_s, tries, NOW) - NOW).total_seconds() for tries in range(6)]

    assert waits_s == [1, 5, 60, 60, 60, 60]


def test_a_step_is_about_its_last_attempt() -> None:
    tries = (toy.Try(errand_id="errand_1", number=1), toy.Try(errand_id="errand_1", number=2))

    steps: list[toy.ErrandStep] = [
        flow.Step(subject=BEFORE, attempts=tries),
        flow.Step(subject=BEFORE),
    ]

    assert [step.attempt for step in steps] == [tries[1], None]
