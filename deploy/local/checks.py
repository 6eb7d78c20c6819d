"""What must hold after a day: nobody charged twice, every book says the same, nothing is left over.

Facts are gathered from the services and the sandbox; the checks themselves are pure.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from deploy.local import catalog
from deploy.local.clients import Platform
from deploy.local.close import Close
from deploy.local.errors import LocalError
from deploy.local.evidence import Finding
from deploy.local.outcomes import Outcomes, has_succeeded, state_name
from deploy.local.receiver import Heard
from deploy.local.replay import NOT_SENT, Replay
from fisc.account.v1 import account_pb2, treasury_pb2
from fisc.gateway.v1 import operations_pb2, payment_pb2
from fisc.notification.v1 import notification_pb2

SHOWN_MAX: Final = 3
SETTLE_TIMEOUT_S: Final = 30.0
SETTLE_POLL_S: Final = 0.5
SUCCEEDED: Final = "SUCCEEDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold, and the figures that show it."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the services and the outside world say once the day is closed."""

    book: list[dict[str, Any]]
    receivables_minor: dict[str, int]
    imbalance_minor: int
    transfers_count: int
    mirrors: list[treasury_pb2.Mirror]
    backlog: dict[str, int]
    events_unpushed: int
    deliveries: Counter[str]


async def gather_settled(platform: Platform, day: date) -> Facts:
    """Ask until nothing is under way any more, or the patience has ended; then what stands."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        facts = await gather(platform, day)
        is_settled = not (facts.backlog or facts.events_unpushed or facts.deliveries["PENDING"])
        if is_settled or time.monotonic() > deadline:
            return facts
        await asyncio.sleep(SETTLE_POLL_S)


async def gather(platform: Platform, day: date) -> Facts:
    """Ask everybody. Raises FiscError, httpx.HTTPError."""
    trial = await platform.call(
        platform.account.GetTrialBalance, account_pb2.GetTrialBalanceRequest()
    )
    backlog = await platform.call(
        platform.operations.GetBacklog, operations_pb2.GetBacklogRequest()
    )
    receivables = await platform.call(
        platform.account.GetBalances,
        account_pb2.GetBalancesRequest(
            account_ids=[catalog.receivable_account(plan.channel_id) for plan in catalog.CHANNELS]
        ),
    )
    deliveries: Counter[str] = Counter()
    states = notification_pb2.Delivery.State
    listed = platform.pages(
        platform.notification.ListDeliveries,
        notification_pb2.ListDeliveriesRequest(),
        "deliveries",
    )
    async for delivery in listed:
        deliveries[states.Name(delivery.state).removeprefix("STATE_")] += 1
    return Facts(
        book=await platform.sandbox.book(day),
        receivables_minor={
            balance.account_id: balance.posted_minor for balance in receivables.balances
        },
        imbalance_minor=trial.imbalance_minor,
        transfers_count=trial.transfers_count,
        mirrors=await platform.mirrors(),
        backlog={f"{line.flow} {line.state}": line.count for line in backlog.lines if line.count},
        events_unpushed=backlog.events_unpushed,
        deliveries=deliveries,
    )


def check_all(
    replay: Replay, close: Close, facts: Facts, findings: list[Finding], heard: Heard
) -> list[Check]:
    """Every check, in the order a reader wants them."""
    return [
        rows_were_sent(replay),
        nothing_is_left(replay.outcomes, facts),
        nobody_paid_twice(replay.outcomes, facts),
        books_agree(replay.outcomes, facts),
        ledger_agrees(facts),
        banks_agree(facts),
        day_is_closed(close),
        differences_are_planted(close, replay.wrong_bill_ref),
        faults_were_handled(replay, findings),
        merchants_were_told(replay, facts, heard),
    ]


def require(checks: list[Check]) -> None:
    """Raise LocalError naming every check that does not hold."""
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.holds]
    if failed:
        raise LocalError("; ".join(failed))


def rows_were_sent(replay: Replay) -> Check:
    """Every row became something, but refunds of payments that took no money."""
    problems = [
        f"line {result.row.line} {result.row.ref}: {result.problem}"
        for result in replay.results
        if result.problem and not result.problem.startswith(NOT_SENT)
    ]
    skipped = sum(1 for each in replay.results if each.problem.startswith(NOT_SENT))
    sent = len(replay.results) - skipped - len(problems)
    detail = f"{sent} sent, {skipped} refunds left out since their payment took no money"
    return _check("every row was sent", problems, detail)


def nothing_is_left(outcomes: Outcomes, facts: Facts) -> Check:
    """Everything has ended, and by itself."""
    problems = [f"{key} is {state_name(subject)}" for key, subject in _open(outcomes)]
    problems += [f"{count} × {what} in the backlog" for what, count in facts.backlog.items()]
    if facts.events_unpushed:
        problems.append(f"{facts.events_unpushed} events not pushed")
    return _check("nothing is left on its way", problems, f"{len(outcomes.subjects)} ended")


def nobody_paid_twice(outcomes: Outcomes, facts: Facts) -> Check:
    """By the sandbox's own book: one charge for each payment that succeeded, none for others."""
    by_ref = {attempt.out_ref: attempt.subject_id for attempt in outcomes.attempts.values()}
    charged: Counter[str] = Counter()
    strangers = []
    for row in facts.book:
        if row["kind"] == "charge" and row["times_charged"]:
            subject_id = by_ref.get(row["out_ref"], "")
            if subject_id:
                charged[subject_id] += row["times_charged"]
            else:
                strangers.append(f"{row['out_ref']} was charged, and we know nothing of it")
    problems = strangers
    payments = [s for s in outcomes.subjects.values() if isinstance(s, payment_pb2.Payment)]
    for payment in payments:
        wanted = 1 if has_succeeded(payment) else 0
        if charged[payment.payment_id] != wanted:
            times, state = charged[payment.payment_id], state_name(payment)
            problems.append(f"{payment.payment_id} is {state}, charged {times} times")
    detail = f"{sum(charged.values())} charges for {len(payments)} payments"
    return _check("everyone who paid was charged once", problems, detail)


def books_agree(outcomes: Outcomes, facts: Facts) -> Check:
    """Operation by operation, the channels' books and ours hold the same amounts."""
    theirs = {
        (row["out_ref"], row["amount"], row["currency"])
        for row in facts.book
        if row["status"] == SUCCEEDED
    }
    ours = set()
    for attempt in outcomes.attempts.values():
        subject = outcomes.subjects[attempt.subject_id]
        if attempt.state == SUCCEEDED and has_succeeded(subject):
            ours.add((attempt.out_ref, subject.amount.amount_minor, subject.amount.currency))
    problems = [f"only in our book: {each}" for each in sorted(ours - theirs)]
    problems += [f"only in the channels': {each}" for each in sorted(theirs - ours)]
    return _check("the channels' books are ours", problems, f"{len(ours)} operations on both sides")


def ledger_agrees(facts: Facts) -> Check:
    """The ledger sums to zero, and what each channel owes us is what its own book says."""
    problems = []
    if facts.imbalance_minor:
        problems.append(f"debits and credits differ by {facts.imbalance_minor}")
    expected = expected_receivables(facts.book)
    for plan in catalog.CHANNELS:
        booked = facts.receivables_minor.get(catalog.receivable_account(plan.channel_id), 0)
        if booked != expected[plan.account_id]:
            problems.append(
                f"{plan.channel_id} owes {booked} by the ledger, "
                f"{expected[plan.account_id]} by its own book"
            )
    detail = f"{facts.transfers_count} transfers, {len(catalog.CHANNELS)} channels agree"
    return _check("the ledger says what the channels say, and sums to zero", problems, detail)


def banks_agree(facts: Facts) -> Check:
    """What virtual accounts claim of each real one is there or on its way, and nothing stands elsewhere."""
    problems = []
    for mirror in facts.mirrors:
        name = mirror.real_account_id or "no real account"
        if mirror.difference_minor:
            problems.append(f"{name}: {mirror.currency} differs by {mirror.difference_minor}")
        elif not mirror.real_account_id and (mirror.claims_minor or mirror.bank_minor):
            problems.append(f"{name}: {mirror.claims_minor} is claimed, {mirror.bank_minor} held")
    ours = [each for each in facts.mirrors if each.real_account_id == catalog.REAL_ACCOUNT]
    if [each.accounts_count for each in ours] != [len(catalog.mapped_accounts())]:
        problems.append("not every account of the demo stands on its bank account")
    detail = "; ".join(
        f"{each.accounts_count} accounts claim {each.claims_minor + each.positions_minor}: "
        f"{each.bank_minor} in the bank, {each.in_transit_minor} in transit"
        for each in ours
    )
    return _check("what is claimed is in the bank or on its way", problems, detail)


def expected_receivables(book: list[dict[str, Any]]) -> dict[str, int]:
    """By account: charges − refunds − payouts, less the fees, plus the fees given back."""
    signs = {"charge": (1, -1), "refund": (-1, 1), "payout": (-1, -1)}
    totals: dict[str, int] = defaultdict(int)
    for row in book:
        if row["status"] == SUCCEEDED:
            amount_sign, fee_sign = signs[row["kind"]]
            totals[row["account_id"]] += amount_sign * row["amount"] + fee_sign * row["fee"]
    return totals


def day_is_closed(close: Close) -> Check:
    """Every bill is in, the day is settled, and each voucher balances."""
    report = close.report
    problems = [] if report.closed else ["the day is not closed"]
    problems += [
        f"the bill of {channel.channel_id} is {channel.statement_state}: {channel.statement_reason}"
        for channel in report.channels
        if channel.statement_state not in {"FETCHED", "EMPTY"}
    ]
    for voucher in close.vouchers:
        debits = sum(line.debit_minor for line in voucher.lines)
        if debits != sum(line.credit_minor for line in voucher.lines) or debits == 0:
            problems.append(f"{voucher.voucher_id} does not balance")
    detail = f"{len(report.batches)} batches, {len(close.vouchers)} vouchers that balance"
    return _check("the day is closed and settled", problems, detail)


def differences_are_planted(close: Close, wrong_bill_ref: str) -> Check:
    """What does not agree is exactly what was planted."""
    found = sorted(difference.out_ref for difference in close.differences)
    wanted = [wrong_bill_ref] if wrong_bill_ref else []
    problems = [] if found == wanted else [f"found {found}, planted {wanted}"]
    if close.report.differences_count != len(found):
        problems.append(f"the report counts {close.report.differences_count}")
    return _check("the differences are the planted ones", problems, f"{len(found)} found")


def faults_were_handled(replay: Replay, findings: list[Finding]) -> Check:
    """Each planted fault struck, and the platform did what it must."""
    problems = [f"{each.fault}: {each.handled}" for each in findings if not each.is_handled]
    planned = {fault.fault for fault in replay.planter.planned} if replay.planter else set()
    struck = {finding.fault for finding in findings}
    problems += [f"{fault} never struck" for fault in sorted(planned - struck)]
    return _check("the planted faults were handled", problems, f"{len(findings)} faults")


def merchants_were_told(replay: Replay, facts: Facts, heard: Heard) -> Check:
    """Every ending was delivered, and its signature held at the receiver."""
    outcomes = replay.outcomes
    expected = sum(
        1
        for subject in outcomes.subjects.values()
        if f"{type(subject).__name__.lower()}.{state_name(subject).lower()}"
        in catalog.WEBHOOK_EVENTS
    )
    problems = [
        f"{count} deliveries are {state}"
        for state, count in sorted(facts.deliveries.items())
        if state != "DELIVERED"
    ]
    if facts.deliveries["DELIVERED"] != expected:
        problems.append(f"{facts.deliveries['DELIVERED']} delivered, {expected} expected")
    # What an earlier process of this receiver heard, this one does not know.
    if len(heard.ids) != expected and not replay.was_replayed_before:
        problems.append(f"the receiver heard {len(heard.ids)}, {expected} expected")
    if heard.refused:
        problems.append(f"the receiver refused {heard.refused}")
    return _check("every merchant was told", problems, f"{len(heard.ids)} webhooks, all genuine")


def _open(outcomes: Outcomes) -> Iterator[tuple[str, Any]]:
    ended = {SUCCEEDED, "FAILED", "CANCELED"}
    for key, subject in outcomes.subjects.items():
        if state_name(subject) not in ended:
            yield key, subject


def _check(name: str, problems: list[str], detail: str) -> Check:
    shown = problems[:SHOWN_MAX]
    if len(problems) > len(shown):
        shown.append(f"… {len(problems) - len(shown)} more")
    return Check(name=name, holds=not problems, detail="; ".join(shown) or detail)
