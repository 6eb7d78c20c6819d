"""When faults are forgotten, and when a row is tried again."""

from dataclasses import replace

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

    saved = flow.arrived(step, BEFORE)

    kept = (0, "") if is_forgotten else (3, "it broke")
    assert (saved.subject.faults_count, saved.subject.last_fault) == kept


def test_a_step_without_faults_is_saved_as_it_is() -> None:
    step = toy.open_errand()

    assert flow.arrived(step, step.subject) is step


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
