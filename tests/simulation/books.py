"""What must be true of the ledger, of clearing and of the audit chain once all is quiet."""

from collections import Counter
from typing import TYPE_CHECKING

from libs import audit
from services.account.domain.accounts import Role
from services.account.domain.mirrors import Mirror, MirrorLine
from services.clearing.domain import settlement
from services.clearing.domain.model import BatchState, ItemKind, MatchState
from services.gateway.domain import merchant, saga
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.forcing import ForceState
from services.gateway.domain.payment import PaymentState
from services.gateway.domain.payout import PayoutState
from tests.simulation import subjects
from tests.simulation.book import State
from tests.simulation.clearing import sums
from tests.simulation.invariants import Violation
from tests.simulation.lateness import late_of
from tests.simulation.loop import SimulatedClock
from tests.simulation.neighbours import CURRENCIES, CURRENCY
from tests.simulation.wallets import MERCHANTS

if TYPE_CHECKING:
    from tests.simulation.world import World

_SIGNS = {"charge": 1, "capture": 1, "refund": -1, "payout": -1}


def check(world: "World") -> list[Violation]:
    """I6 and I7 by balances, I14, I15 and I18."""
    return [
        *_check_strangers(world),
        *_check_receivables(world),
        *_check_mirrors(world),
        *_check_items(world),
        *_check_batches(world),
        *_check_merchants(world),
        *_check_people(world),
    ]


def _check_strangers(world: "World") -> list[Violation]:
    """I6 the other way: the ledger has booked nothing but what we know of."""
    rows = world.database.rows
    expected = {f"fund-{each.merchant_id}" for each in MERCHANTS}
    expected |= {f"{payment_id}:collect" for payment_id in rows["payment"]}
    expected |= {f"square-{attempt_id}" for attempt_id in world.people.squared}
    for late in late_of(world.database, subjects.the_book(world)):
        attempt_id = late.attempt.attempt_id
        expected |= {f"{attempt_id}:late"} | (
            {f"{attempt_id}:late-return"} if late.is_back else set()
        )
    expected |= {f"{capture_id}:collect" for capture_id in rows["capture"]}
    expected |= {f"{refund_id}:refund" for refund_id in rows["refund"]}
    for payout_id in rows["payout"]:
        expected |= {f"{payout_id}:{word}" for word in ("payout", "capture", "return")}
    for batch_id in world.books.database.rows["batch"]:
        expected |= {f"{batch_id}:{word}" for word in ("net", "fees")}
    return [
        Violation("I6", transfer_id, "the ledger has booked what nobody wrote")
        for transfer_id in world.ledger.transfers
        if transfer_id not in expected
    ]


def _balance_minor(world: "World", account_id: str) -> int:
    """Credits less debits."""
    balance = world.ledger.balances.get(account_id)
    return 0 if balance is None else balance.credits_minor - balance.debits_minor


def _check_receivables(world: "World") -> list[Violation]:
    """I7: each channel owes us by our ledger what its own book says, but for what stands before a person."""
    database = world.database
    subject_of = {each.out_ref: each.subject_id for each in database.attempts.values()}
    manual = set()
    for rows in database.rows.values():
        for subject_id, row in rows.items():
            # What moved late is booked as it was, whoever has it now.
            reasons = {case.reason for case in database.open_cases_of(subject_id)}
            is_unclear = bool(reasons - {saga.LATE_SUCCESS})
            if row.state == "MANUAL" or is_unclear:
                manual.add(subject_id)
    found = []
    for channel_id, channel in world.channels.items():
        owed: Counter[str] = Counter()
        booked_manual = False
        for entry in channel.book.values():
            subject_id = subject_of.get(entry.out_ref, "")
            if subject_id in manual:
                booked_manual = True
            elif entry.is_moved and entry.state is State.PAID:
                owed[entry.currency] += _SIGNS[entry.kind] * entry.amount_minor
        for currency in CURRENCIES:
            account_id = merchant.receivable_account(channel_id, currency)
            ours_minor = -_balance_minor(world, account_id)
            if ours_minor != owed[currency] and not booked_manual:
                words = f"the ledger says {ours_minor} {currency}, its book {owed[currency]}"
                found.append(Violation("I7", channel_id, words))
    return found


def _check_mirrors(world: "World") -> list[Violation]:
    """I18: what is claimed in a currency is in the bank or on its way, and what left on its way has arrived."""
    found = []
    for currency in CURRENCIES:
        accounts: Counter[Role] = Counter()
        posted: Counter[Role] = Counter()
        for balance in world.ledger.balances.values():
            if balance.currency == currency:
                accounts[balance.role] += 1
                posted[balance.role] += balance.posted_minor
        lines = [
            MirrorLine(role=role, accounts=accounts[role], posted_minor=posted[role])
            for role in accounts
        ]
        mirror = Mirror(
            real_account_id=f"bank/{currency}",
            tenant_id="",
            currency=currency,
            at=SimulatedClock(world.loop).now(),
            lines=lines,
        )
        if mirror.difference_minor:
            words = f"claims differ from bank and transit by {mirror.difference_minor} {currency}"
            found.append(Violation("I18", currency, words))
        transit: Counter[str] = Counter()
        account_id = merchant.payout_transit_account(currency)
        for each in world.ledger.transfers.values():
            sign = (each.debit_account_id == account_id) - (each.credit_account_id == account_id)
            transit[each.reference] += sign * each.amount_minor
        found += [
            Violation("I18", reference, f"{minor} {currency} in transit has no other leg")
            for reference, minor in transit.items()
            if minor
        ]
    return found


def _check_items(world: "World") -> list[Violation]:
    """I11 and I14: each success is one item, and each item that settles is settled once, or waits for a reason."""
    database, books = world.database, world.books
    rows = database.rows
    expected = {
        *(
            payment_id
            for payment_id, payment in rows["payment"].items()
            if payment.state is PaymentState.SUCCEEDED and not payment.capture_later
        ),
        *(
            order_id
            for order_id, order in (*rows["capture"].items(), *rows["refund"].items())
            if order.state is FollowUpState.SUCCEEDED
        ),
        *(
            payout_id
            for payout_id, payout in rows["payout"].items()
            if payout.state in {PayoutState.SUCCEEDED, PayoutState.RETURNED}
        ),
        *(
            f"{payout_id}:return"
            for payout_id, payout in rows["payout"].items()
            if payout.state is PayoutState.RETURNED
        ),
    }
    for late in late_of(database, subjects.the_book(world)):
        attempt_id = late.attempt.attempt_id
        expected |= {attempt_id} | ({f"{attempt_id}:return"} if late.is_back else set())
    found = [
        Violation(
            "I14", subject_id, "has succeeded, and is no item" if is_missing else "is no success"
        )
        for ids, is_missing in (
            (expected - books.items.keys(), True),
            (books.items.keys() - expected, False),
        )
        for subject_id in sorted(ids)
    ]
    batches = books.database.rows["batch"]
    for item in books.items.values():
        if not item.settles and item.batch_id:
            found.append(Violation("I14", item.subject_id, "settled, but not the merchant's"))
        if item.match_state is not MatchState.MATCHED:
            words = f"the channel has never confirmed it: {item.match_state}"
            found.append(Violation("I14", item.subject_id, words))
        elif item.settles and item.batch_id not in batches:
            found.append(Violation("I14", item.subject_id, "in no batch"))
    return found


def _check_batches(world: "World") -> list[Violation]:
    """I14: a batch says what its items say, and the ledger has booked that, once it is settled."""
    found = []
    transfers = world.ledger.transfers
    for batch_id, batch in world.books.database.rows["batch"].items():
        items = [item for item in world.books.items.values() if item.batch_id == batch_id]
        said = {name: getattr(batch, name) for name in sums(items)}
        if said != sums(items) or batch.items_count != len(items):
            found.append(Violation("I14", batch_id, f"says {said}, its items {sums(items)}"))
        is_settled = batch.state is BatchState.SETTLED
        for transfer in settlement.batch_transfers(batch):
            booked = transfers.get(transfer.transfer_id)
            if is_settled is (booked is None):
                words = f"{batch.state}, but {transfer.transfer_id} booked: {not is_settled}"
                found.append(Violation("I14", batch_id, words))
            elif booked is not None and booked.amount_minor != transfer.amount_minor:
                found.append(Violation("I14", batch_id, f"{booked.amount_minor} booked"))
        is_waiting = batch.next_run_at is not None and batch.state is not BatchState.POSTING
        if not is_settled and not is_waiting and batch.state is not BatchState.MANUAL:
            found.append(Violation("I4", batch_id, f"rests in {batch.state}"))
        source = f"settlement:{batch_id}"
        if is_settled and settlement.batch_transfers(batch) and source not in world.books.vouchers:
            found.append(Violation("I14", batch_id, "settled without a voucher"))
    return found


def _check_merchants(world: "World") -> list[Violation]:
    """I14: what merchants are owed, and what we earned, is what items and batches say."""
    found = []
    batches = list(world.books.database.rows["batch"].values())
    settled = [batch for batch in batches if batch.state is BatchState.SETTLED]
    for currency in CURRENCIES:
        for each in MERCHANTS:
            items = [
                item
                for item in world.books.items.values()
                if item.settles
                and (item.merchant_id, item.currency) == (each.merchant_id, currency)
            ]
            of_it = [
                b for b in settled if (b.merchant_id, b.currency) == (each.merchant_id, currency)
            ]
            total = sums(items)
            pending_minor = total["gross_minor"] - total["refunds_minor"]
            pending_minor -= sum(batch.gross_minor - batch.refunds_minor for batch in of_it)
            account_id = merchant.pending_account(each.merchant_id, currency)
            booked_minor = _balance_minor(world, account_id)
            if booked_minor != pending_minor:
                words = f"the ledger says {booked_minor}, the items {pending_minor}"
                found.append(Violation("I14", account_id, words))
            account_id = merchant.available_account(each.merchant_id, currency)
            paid_out = {ItemKind.PAYOUT: -1, ItemKind.PAYOUT_RETURN: 1}
            available_minor = sum(batch.net_minor for batch in of_it) + sum(
                paid_out.get(item.kind, 0) * item.amount_minor for item in items
            )
            if currency == CURRENCY:
                available_minor += world.funds_minor
            booked_minor = _balance_minor(world, account_id)
            if booked_minor != available_minor:
                words = f"the ledger says {booked_minor}, batches and payouts {available_minor}"
                found.append(Violation("I14", account_id, words))
        earned_minor = sum(batch.fees_minor for batch in settled if batch.currency == currency)
        account_id = settlement.fee_income_account(currency)
        if _balance_minor(world, account_id) != earned_minor:
            words = f"the ledger says {_balance_minor(world, account_id)}, batches {earned_minor}"
            found.append(Violation("I14", account_id, words))
    return found


def _check_people(world: "World") -> list[Violation]:
    """I15: the audit chain holds, names two people for each forced step, and misses none."""
    found = []
    broken = audit.verify(world.database.records)
    if broken:
        found.append(Violation("I15", "", f"the audit chain breaks at {broken}"))
    actions: dict[str, dict[str, str]] = {}
    for record in world.database.records:
        for force in world.database.forces.values():
            if force.force_id in record.detail:
                actions.setdefault(force.force_id, {})[record.action] = record.actor_id
    applied: set[tuple[str, str]] = set()
    for force in world.database.forces.values():
        if force.state is not ForceState.APPLIED:
            continue
        applied.add((force.subject_id, force.to_state))
        told = actions.get(force.force_id, {})
        if not {"FORCE_PROPOSED", "FORCE_APPROVED", "FORCE_APPLIED"} <= told.keys():
            found.append(Violation("I15", force.subject_id, f"the audit chain says only {told}"))
        elif told["FORCE_PROPOSED"] == told["FORCE_APPROVED"]:
            found.append(Violation("I15", force.subject_id, "maker and checker are one"))
    return found + _check_forced(world, applied)


def _check_forced(world: "World", applied: set[tuple[str, str]]) -> list[Violation]:
    """I15 the other way: nothing is forced or resolved but by what two people decided."""
    done = {
        (case.subject_id, saga.RESOLVED, "resolved")
        for case in world.database.cases.values()
        if case.resolution == saga.RESOLVED
    }
    for rows in world.database.rows.values():
        forced = {key for key, row in rows.items() if row.reason == saga.FORCED}
        done |= {(key, rows[key].state.value, "forced") for key in forced}
    return [
        Violation("I15", subject_id, f"{word}, and nobody says by whom")
        for subject_id, to_state, word in sorted(done)
        if (subject_id, to_state) not in applied
    ]
