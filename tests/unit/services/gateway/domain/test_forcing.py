"""Maker and checker: who may decide what, and what a repetition or a crash changes."""

import dataclasses
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain import forcing
from services.gateway.domain.errors import CheckerIsMaker, ForceAlreadyDecided, ForceRefused
from services.gateway.domain.forcing import Force, ForceState, SubjectFacts

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
PROPOSAL = Force(
    force_id="for_1",
    request_id="req-1",
    subject_id="pay_1",
    subject_version=7,
    subject_state="MANUAL",
    subject_reason="OUTCOME_UNKNOWN",
    to_state="SUCCEEDED",
    note="line 12 of the bill",
    maker_id="maker",
    proposed_at=NOW,
)


def decide(force: Force, checker_id: str = "checker", *, is_approved: bool = True) -> Force | None:
    return forcing.decide(
        force, is_approved=is_approved, checker_id=checker_id, note="seen it", now=NOW
    )


def approved(checker_id: str = "checker") -> Force:
    force = decide(PROPOSAL, checker_id)
    assert force is not None
    return force


def facts(state: str = "SUCCEEDED", reason: str = "FORCED", version: int = 8) -> SubjectFacts:
    return SubjectFacts(
        flow="payment", state=state, reason=reason, version=version, merchant_id="m"
    )


def test_an_approval_names_its_checker_before_anything_is_carried_out() -> None:
    force = approved()

    assert (force.state, force.checker_id, force.decided_at) == (
        ForceState.PROPOSED,
        "checker",
        None,
    )
    assert force.is_approved


def test_a_rejection_ends_it() -> None:
    force = decide(PROPOSAL, is_approved=False)

    assert force is not None
    assert (force.state, force.checker_id, force.decided_at) == (
        ForceState.REJECTED,
        "checker",
        NOW,
    )


@given(st.sampled_from(ForceState), st.booleans(), st.sampled_from(["", "checker"]))
def test_the_maker_never_decides(state: ForceState, is_approved: bool, checker_id: str) -> None:
    force = dataclasses.replace(PROPOSAL, state=state, checker_id=checker_id)

    with pytest.raises(CheckerIsMaker):
        decide(force, "maker", is_approved=is_approved)


@pytest.mark.parametrize("state", [ForceState.APPLIED, ForceState.STALE])
def test_the_same_approval_by_the_same_person_changes_nothing(state: ForceState) -> None:
    assert decide(forcing.settle(approved(), state, NOW)) is None


def test_the_same_rejection_by_the_same_person_changes_nothing() -> None:
    rejected = decide(PROPOSAL, is_approved=False)

    assert rejected is not None
    assert decide(rejected, is_approved=False) is None


@pytest.mark.parametrize("state", [ForceState.APPLIED, ForceState.STALE, ForceState.REJECTED])
@pytest.mark.parametrize("is_approved", [True, False])
def test_nobody_else_decides_it_again(state: ForceState, is_approved: bool) -> None:
    with pytest.raises(ForceAlreadyDecided):
        decide(forcing.settle(approved(), state, NOW), "third", is_approved=is_approved)


@pytest.mark.parametrize("checker_id", ["checker", "third"])
def test_what_was_approved_and_cut_off_by_a_crash_can_be_completed_but_not_rejected(
    checker_id: str,
) -> None:
    assert decide(approved("checker"), checker_id) is None
    with pytest.raises(ForceAlreadyDecided):
        decide(approved("checker"), checker_id, is_approved=False)


@pytest.mark.parametrize(
    ("flow", "to_state", "is_allowed"),
    [
        ("payment", "CANCELED", True),
        ("payment", "RETURNED", False),
        ("payment", "MANUAL", False),
        ("capture", "FAILED", True),
        ("capture", "CANCELED", False),
        ("refund", "SUCCEEDED", True),
        ("refund", "UNKNOWN", False),
        ("payout", "RETURNED", True),
        ("payout", "CANCELED", False),
        ("payment", "RESOLVED", True),
        ("capture", "RESOLVED", True),
        ("refund", "RESOLVED", True),
        ("payout", "RESOLVED", True),
    ],
)
def test_a_flow_is_forced_only_to_its_own_ends(flow: str, to_state: str, is_allowed: bool) -> None:
    if is_allowed:
        forcing.check_target(flow, to_state)
    else:
        with pytest.raises(ForceRefused):
            forcing.check_target(flow, to_state)


@pytest.mark.parametrize(
    ("now", "is_applied"),
    [
        (facts(), True),
        (facts(reason=""), False),
        (facts(state="FAILED"), False),
        # It was forced before the proposal was made.
        (facts(version=7), False),
    ],
)
def test_a_subject_tells_whether_the_force_has_reached_it(
    now: SubjectFacts, is_applied: bool
) -> None:
    assert forcing.is_applied(approved(), now) is is_applied
