"""What the planted faults did, and what the platform made of them: asked of both sides."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time
from typing import Any, Final

from deploy.local import catalog, planted
from deploy.local.clients import Platform
from deploy.local.outcomes import Outcomes, has_ended, has_succeeded, state_name
from deploy.local.planted import PlannedFault
from deploy.local.replay import Replay
from fisc.clearing.v1 import clearing_pb2
from fisc.gateway.v1 import operations_pb2
from libs.money import Money

HISTORY_SHOWN_MAX: Final = 6
CIRCUIT_OPEN: Final = "CHANNEL_CIRCUIT_OPEN"
DELIVERIES_OF_A_DUPLICATE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault that struck: what it did, what the platform made of it, and whether that is right."""

    fault: str
    channel_id: str
    happened: str
    handled: str
    is_handled: bool
    history: tuple[str, ...] = ()


async def find(
    platform: Platform, replay: Replay, differences: list[clearing_pb2.Difference] | None
) -> list[Finding]:
    """Everything known of this replay's faults; differences are None while the day is open.

    Raises FiscError, httpx.HTTPError.
    """
    fired = (await platform.sandbox.faults())["fired"]
    book = {row["out_ref"]: row for row in await platform.sandbox.book(replay.file.business_date)}
    refs = {attempt.out_ref: attempt for attempt in replay.outcomes.attempts.values()}
    findings: list[Finding] = []
    for fault in replay.planter.planned if replay.planter else ():
        hits = [
            hit
            for hit in fired
            if (hit["account_id"], hit["fault"]) == (fault.account_id, fault.fault)
            and (hit["out_ref"] in refs or not hit["out_ref"])
        ]
        match fault.fault:
            case planted.TIMEOUT:
                findings += [await _timeout(platform, replay.outcomes, book, hit) for hit in hits]
            case planted.DUPLICATE:
                findings += await _duplicates(platform, replay.outcomes, fault, hits)
            case planted.DOWN:
                findings += _down(replay, fault, hits)
            case _:
                pass
    if replay.wrong_bill_ref:
        findings.append(_wrong_bill(replay.wrong_bill_ref, differences))
    return findings


async def _timeout(
    platform: Platform, outcomes: Outcomes, book: dict[str, dict[str, Any]], hit: dict[str, Any]
) -> Finding:
    subject_id, amount = _subject_of(outcomes, hit["out_ref"])
    payment = outcomes.subjects[subject_id]
    evidence = await platform.call(
        platform.operations.GetEvidence, operations_pb2.GetEvidenceRequest(subject_id=subject_id)
    )
    charged = sum(
        book[attempt.out_ref]["times_charged"]
        for attempt in evidence.attempts
        if attempt.out_ref in book
    )
    channel_id = channel_of(hit["account_id"])
    return Finding(
        fault=planted.TIMEOUT,
        channel_id=channel_id,
        happened=f"{channel_id} took {amount} for {subject_id} and never answered",
        handled=f"waited for the channel's word instead of charging again: {state_name(payment)} "
        f"by that attempt, charged {charged} time",
        is_handled=has_succeeded(payment)
        and charged == 1
        and evidence.attempts[-1].out_ref == hit["out_ref"],
        history=tuple(
            f"{line.at.ToDatetime():%H:%M:%S} {line.text}"
            for line in evidence.history[:HISTORY_SHOWN_MAX]
        ),
    )


async def _duplicates(
    platform: Platform, outcomes: Outcomes, fault: PlannedFault, hits: list[dict[str, Any]]
) -> list[Finding]:
    callbacks = {
        callback["out_ref"]: callback
        for callback in await platform.sandbox.callbacks(fault.account_id)
        if callback["kind"] == "payment"
    }
    findings = []
    for hit in hits:
        subject_id, amount = _subject_of(outcomes, hit["out_ref"])
        callback = callbacks.get(hit["out_ref"], {"attempts": 0, "status": "?"})
        told = len(outcomes.succeeded_events.get(subject_id, ()))
        findings.append(
            Finding(
                fault=planted.DUPLICATE,
                channel_id=fault.channel_id,
                happened=f"{fault.channel_id} notified {callback['attempts']} times that "
                f"{subject_id} ({amount}) was paid",
                handled=f"acknowledged each ({callback['status']}), took effect {told} time",
                is_handled=told == 1
                and callback["status"] == "DELIVERED"
                and callback["attempts"] >= DELIVERIES_OF_A_DUPLICATE,
            )
        )
    return findings


def _down(replay: Replay, fault: PlannedFault, hits: list[dict[str, Any]]) -> Iterator[Finding]:
    """One finding for the whole outage: who met the dead channel, and who was kept from it."""
    outcomes, refs = (
        replay.outcomes,
        {hit["out_ref"] for hit in hits if hit["operation"] == "charge"},
    )
    there = [a for a in outcomes.attempts.values() if a.channel_id == fault.channel_id]
    met = {attempt.subject_id for attempt in there if attempt.out_ref in refs}
    spared = {attempt.subject_id for attempt in there if attempt.code == CIRCUIT_OPEN}
    payments = [outcomes.subjects[subject_id] for subject_id in sorted(met | spared)]
    if not payments:
        return
    paid = [payment for payment in payments if has_succeeded(payment)]
    elsewhere = [payment for payment in paid if payment.channel_id != fault.channel_id]
    yield Finding(
        fault=planted.DOWN,
        channel_id=fault.channel_id,
        happened=f"{fault.channel_id} hung up on {len(hits)} calls between {fault.at:%H:%M} and "
        f"{fault.until or time.max:%H:%M}; {len(met)} payments met it",
        handled=f"the circuit breaker opened and sent {len(spared)} more on without asking it; "
        f"of all, {len(elsewhere)} were paid through another channel, "
        f"{len(paid) - len(elsewhere)} through this one once it was back, "
        f"{len(payments) - len(paid)} not at all",
        is_handled=all(has_ended(payment) for payment in payments) and bool(elsewhere),
    )


def _wrong_bill(out_ref: str, differences: list[clearing_pb2.Difference] | None) -> Finding:
    found = [each for each in differences or () if each.out_ref == out_ref]
    is_amount = [each for each in found if each.kind == clearing_pb2.DIFFERENCE_KIND_AMOUNT]
    if differences is None:
        handled = "not met yet: `fisc close` downloads the bill"
    elif found:
        handled = f"{found[0].difference_id} stands open: {found[0].detail}"
    else:
        handled = "no difference was found"
    return Finding(
        fault=planted.WRONG_AMOUNT,
        channel_id=planted.BILL_CHANNEL,
        happened=f"the bill of {planted.BILL_CHANNEL} has a wrong amount for {out_ref}",
        handled=handled,
        is_handled=differences is None or len(is_amount) == 1,
    )


def _subject_of(outcomes: Outcomes, out_ref: str) -> tuple[str, str]:
    subject_id = next(
        attempt.subject_id for attempt in outcomes.attempts.values() if attempt.out_ref == out_ref
    )
    amount = outcomes.subjects[subject_id].amount
    text = Money(amount.currency, amount.amount_minor).format()
    return subject_id, f"{text} {amount.currency}"


def channel_of(account_id: str) -> str:
    """Our name of a channel the sandbox knows by its account."""
    return next(plan.channel_id for plan in catalog.CHANNELS if plan.account_id == account_id)
