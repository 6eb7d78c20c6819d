"""Whether all books agree: the sandbox's own, the gateway's rows, the ledger, the clearing items. Each difference is a sentence."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from tests.chaos.world import World

Row = Mapping[str, Any]
Key = tuple[str, str]
"""A channel, and its number for an attempt."""
MARGIN_S: Final = 5
MOVED: Final = frozenset({"SUCCEEDED", "RETURNED"})
# Of these, what a channel moves after their end is not theirs.
OVER: Final = frozenset({"FAILED", "CANCELED"})
TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "RETURNED"})
KINDS: Final = ("payment", "capture", "refund", "payout")
TRANSFERS: Final = {
    "payment": "collect",
    "capture": "collect",
    "refund": "refund",
    "payout": "payout",
}
HOLD_STATES: Final = {"SUCCEEDED": "CAPTURED", "RETURNED": "CAPTURED", "FAILED": "VOIDED"}
# What a row of the sandbox's own book adds to what the channel owes us.
BOOK_SIGNS: Final = {"charge": 1, "capture": 1, "refund": -1, "payout": -1, "payout_return": 1}

_ENTRIES = """
SELECT account_id, balance.sequence, debits_minor, credits_minor, held_minor,
    coalesce(sum(entry.amount_minor) FILTER (WHERE direction = 'DEBIT'), 0)::bigint AS debits_sum,
    coalesce(sum(entry.amount_minor) FILTER (WHERE direction = 'CREDIT'), 0)::bigint AS credits_sum,
    count(entry.amount_minor) AS entries_count
FROM account_balance AS balance LEFT JOIN entry USING (account_id)
GROUP BY account_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the stores say. `whole`: of everybody, so that what belongs to nobody shows as well."""

    subjects: Mapping[str, Sequence[Row]]
    """By kind: payment, capture, refund, payout."""
    attempts: Sequence[Row]
    endings: Mapping[str, int]
    """Events "subject ended" by subject."""
    told_late: Mapping[str, int]
    """Events "moved late" by subject."""
    cases: Collection[str]
    """Whose cases are open, or were resolved by people."""
    transfers: Mapping[str, Row]
    holds: Mapping[str, Row]
    items: Mapping[str, Row]
    book: Sequence[Row]
    accounts: Sequence[Row]
    whole: bool


async def audit(world: World, merchant_id: str = "") -> list[str]:
    """All differences; of one merchant, or of everything. Empty when all books agree and nothing is under way."""
    return list(differences(await take(world, merchant_id)))


async def _fetch(pool: "asyncpg.Pool[asyncpg.Record]", query: str, *values: object) -> list[Row]:
    return [dict(row) for row in await pool.fetch(query, *values)]


async def take(world: World, merchant_id: str) -> Snapshot:
    gateway, account = world.pools["gateway"], world.pools["account"]
    subjects = {
        kind: await _fetch(
            gateway,
            f"SELECT *, {kind}_id AS id, next_run_at + make_interval(secs => {MARGIN_S}) < now()"
            f" AS overdue FROM {kind} WHERE $1 IN ('', merchant_id)",
            merchant_id,
        )
        for kind in KINDS
    }
    ids = [row["id"] for rows in subjects.values() for row in rows]
    attempts = await _fetch(
        gateway,
        "SELECT * FROM attempt WHERE subject_id = ANY ($1) ORDER BY subject_id, number",
        ids,
    )
    endings = await _fetch(
        gateway,
        "SELECT subject_id FROM event_log WHERE subject_id = ANY ($1)"
        " AND split_part(type, '.', 2) IN ('succeeded', 'failed', 'canceled')",
        ids,
    )
    told_late = await _fetch(
        gateway,
        "SELECT subject_id FROM event_log WHERE subject_id = ANY ($1)"
        " AND split_part(type, '.', 2) = 'late_success'",
        ids,
    )
    cases = await _fetch(
        gateway,
        "SELECT subject_id FROM manual_case WHERE subject_id = ANY ($1)"
        " AND (closed_at IS NULL OR resolution = 'RESOLVED')",
        ids,
    )
    whole = not merchant_id
    transfers = await _fetch(
        account,
        "SELECT * FROM transfer WHERE ($2 AND split_part(transfer_id, ':', 2) IN"
        " ('collect', 'refund', 'payout', 'return', 'late', 'late-return')) OR reference = ANY ($1)",
        ids,
        whole,
    )
    holds = await _fetch(account, "SELECT * FROM hold WHERE $2 OR hold_id = ANY ($1)", ids, whole)
    items = await _fetch(
        world.pools["clearing"], "SELECT * FROM item WHERE $1 IN ('', merchant_id)", merchant_id
    )
    references = {(row["channel_id"], row["out_ref"]) for row in attempts}
    book = [
        row
        for row in (await world.house.sandbox.get("/control/book")).json()
        if whole or (row["account_id"], row["out_ref"]) in references
    ]
    return Snapshot(
        subjects=subjects,
        attempts=attempts,
        endings=Counter(row["subject_id"] for row in endings),
        told_late=Counter(row["subject_id"] for row in told_late),
        cases={row["subject_id"] for row in cases},
        transfers={row["transfer_id"]: row for row in transfers},
        holds={row["hold_id"]: row for row in holds},
        items={row["subject_id"]: row for row in items},
        book=book,
        accounts=await _fetch(account, _ENTRIES) if whole else [],
        whole=whole,
    )


def differences(seen: Snapshot) -> Iterator[str]:
    """Each difference between the books, as a sentence."""
    attempts: dict[str, list[Row]] = defaultdict(list)
    for attempt in seen.attempts:
        attempts[attempt["subject_id"]].append(attempt)
    late = _moved_late(seen)
    for kind, rows in seen.subjects.items():
        for row in rows:
            own = [
                attempt
                for attempt in attempts[row["id"]]
                if (attempt["channel_id"], attempt["out_ref"]) not in late
            ]
            yield from _subject(kind, row, own, seen)
    yield from _late(seen, late.values())
    yield from _book(seen, late)
    yield from _children(seen.subjects)
    if seen.whole:
        yield from _ledger(seen)


def _moved_late(seen: Snapshot) -> Mapping[Key, Row]:
    """The attempts that moved what is not their subject's."""
    subjects = {row["id"]: row for rows in seen.subjects.values() for row in rows}
    return {
        (attempt["channel_id"], attempt["out_ref"]): attempt
        for attempt in seen.attempts
        if attempt["state"] in MOVED and not _is_its_own(subjects[attempt["subject_id"]], attempt)
    }


def _is_its_own(subject: Row, attempt: Row) -> bool:
    is_last = attempt["number"] == subject.get("attempts_count", attempt["number"])
    return is_last and subject["state"] not in OVER


def _subject(kind: str, row: Row, attempts: Sequence[Row], seen: Snapshot) -> Iterator[str]:
    subject_id, state = row["id"], row["state"]
    if state == "AUTHORIZED":
        # It rests until somebody captures or releases it.
        if attempts[-1]["state"] != state or row["capturing_minor"]:
            yield f"{subject_id} is {state}, its attempt {attempts[-1]['state']}"
        return
    if state not in TERMINAL:
        yield f"{subject_id} is {state}" + (" and overdue" if row["overdue"] else "")
        return
    # A payout that succeeded is still asked about: its bank may send it back.
    if row["next_run_at"] is not None and (kind, state) != ("payout", "SUCCEEDED"):
        yield f"{subject_id} is {state} and would run again"
    has_failed_first = row.get("origin") == "LATE_SUCCESS" and state == "SUCCEEDED"
    if seen.endings.get(subject_id, 0) not in {1, 1 + has_failed_first}:
        yield f"{subject_id} told of its end {seen.endings.get(subject_id, 0)} times"
    won = [attempt for attempt in attempts if attempt["state"] in MOVED]
    open_ = [attempt for attempt in attempts if attempt["state"] in {"SENT", "PENDING", "UNKNOWN"}]
    has_succeeded = state in {"SUCCEEDED", "RETURNED"}
    if len(won) != has_succeeded or open_:
        yield f"{subject_id} is {state} with {len(won)} good attempts, {len(open_)} unknown"
    # What an authorised payment took is told by its captures.
    moves_money = has_succeeded and not row.get("capture_later")
    transfer = seen.transfers.get(f"{subject_id}:{TRANSFERS[kind]}")
    if (transfer is not None) != moves_money:
        yield f"{subject_id} is {state}, its posting {'exists' if transfer else 'is missing'}"
    elif transfer and transfer["amount_minor"] != row["amount_minor"]:
        yield f"{subject_id} is booked with {transfer['amount_minor']}"
    item = seen.items.get(subject_id)
    if (item is not None) != moves_money:
        yield f"{subject_id} is {state}, its clearing item {'exists' if item else 'is missing'}"
    elif item and item["amount_minor"] != row["amount_minor"]:
        yield f"{subject_id} is cleared with {item['amount_minor']}"
    if kind == "payout":
        yield from _payout(row, seen)


def _payout(row: Row, seen: Snapshot) -> Iterator[str]:
    """Its hold, and its return if the bank sent it back."""
    subject_id, state, has_returned = row["id"], row["state"], row["state"] == "RETURNED"
    hold = seen.holds.get(subject_id)
    if hold is None or hold["state"] != HOLD_STATES[state]:
        yield f"{subject_id} is {state}, its hold {hold['state'] if hold else 'is missing'}"
    if (f"{subject_id}:return" in seen.transfers) != has_returned:
        yield f"{subject_id} is {state}, its return is booked or missing against that"
    if (f"{subject_id}:return" in seen.items) != has_returned:
        yield f"{subject_id} is {state}, its return is cleared or missing against that"


def _late(seen: Snapshot, late: Iterable[Row]) -> Iterator[str]:
    """What a channel moved late is told, booked and cleared apart; what came is given back, what went is a person's matter."""
    refunds = {row["request_id"] for row in seen.subjects["refund"]}
    told: Counter[str] = Counter()
    for attempt in late:
        attempt_id, subject_id = attempt["attempt_id"], attempt["subject_id"]
        is_back = attempt["state"] == "RETURNED"
        told[subject_id] += 1
        for transfer_id, item_id, is_due in (
            (f"{attempt_id}:late", attempt_id, True),
            (f"{attempt_id}:late-return", f"{attempt_id}:return", is_back),
        ):
            if (transfer_id in seen.transfers) != is_due:
                yield f"{transfer_id} is booked or missing against what its channel said late"
            if (item_id in seen.items) != is_due:
                yield f"{item_id} is cleared or missing against what its channel said late"
        if attempt["operation"] in {"PAYMENT", "CAPTURE"}:
            is_squared = f"late-success:{attempt_id}" in refunds
        else:
            is_squared = is_back or subject_id in seen.cases
        if not is_squared:
            yield f"{attempt_id} moved money late, and nobody knows of it"
    for subject_id in told.keys() | seen.told_late.keys():
        if told[subject_id] != seen.told_late.get(subject_id, 0):
            yield f"{subject_id} told of {seen.told_late.get(subject_id, 0)} late moves, not {told[subject_id]}"


def _book(seen: Snapshot, late: Collection[Key]) -> Iterator[str]:
    """The channels' book against our attempts, both ways."""
    amounts = {row["id"]: row["amount_minor"] for rows in seen.subjects.values() for row in rows}
    ours = {(attempt["channel_id"], attempt["out_ref"]): attempt for attempt in seen.attempts}
    theirs = {
        (row["account_id"], row["out_ref"]): row
        for row in seen.book
        if row["kind"] != "payout_return"
    }
    authorized = {row["id"] for row in seen.subjects["payment"] if row["capture_later"]}
    charged: Counter[str] = Counter()
    for key, row in theirs.items():
        attempt = ours.get(key)
        times = _times_moved(row)
        if times > 1:
            yield f"{key} was charged {times} times"
        if attempt is None:
            if times:
                yield f"the channel moved money for {key}, of which we know nothing"
            continue
        charged[attempt["subject_id"]] += times * (key not in late)
        # An authorisation moves nothing by itself.
        if row["kind"] == "charge" and attempt["subject_id"] in authorized:
            continue
        if bool(times) != (attempt["state"] in MOVED):
            yield f"{key}: the channel says {row['status']}, we say {attempt['state']}"
        elif times and row["amount"] != amounts[attempt["subject_id"]]:
            yield f"{key}: the channel moved {row['amount']}"
    for key, attempt in ours.items():
        if attempt["state"] == "SUCCEEDED" and key not in theirs:
            yield f"{key} succeeded, and the channel has never heard of it"
    for subject_id, times in charged.items():
        if times > 1:
            yield f"{subject_id} was charged {times} times over all channels"


def _times_moved(row: Row) -> int:
    """How often the channel says that this moved money."""
    if row["kind"] == "charge":
        return int(row["times_charged"])
    return int(row["status"] in {"SUCCEEDED", "RETURNED"})


def _children(subjects: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Each payment counts what its captures took and its refunds gave back."""
    taken, given = _sums(subjects["capture"]), _sums(subjects["refund"])
    for payment in subjects["payment"]:
        payment_id, captured_minor = payment["id"], payment["captured_minor"]
        if payment["refunded_minor"] != given[payment_id]:
            yield f"{payment_id} counts {payment['refunded_minor']} refunded, its refunds {given[payment_id]}"
        if given[payment_id] > captured_minor:
            yield f"{payment_id} gave back {given[payment_id]} of {captured_minor}"
        counted = captured_minor + payment["capturing_minor"]
        if payment["capture_later"] and counted != taken[payment_id]:
            yield f"{payment_id} counts {counted} captured, its captures {taken[payment_id]}"
        if counted > payment["amount_minor"]:
            yield f"{payment_id} took {counted} of {payment['amount_minor']}"


def _sums(children: Iterable[Row]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for child in children:
        if child["state"] != "FAILED" and child.get("origin") != "LATE_SUCCESS":
            sums[child["payment_id"]] += child["amount_minor"]
    return sums


def _ledger(seen: Snapshot) -> Iterator[str]:
    """The ledger in itself, and its receivables against the channels' own book."""
    ids = {row["id"] for rows in seen.subjects.values() for row in rows}
    ids |= {attempt["attempt_id"] for attempt in seen.attempts}
    for transfer_id in seen.transfers:
        if transfer_id.partition(":")[0] not in ids:
            yield f"the ledger has {transfer_id}, the gateway knows nothing of it"
    for hold_id, hold in seen.holds.items():
        if hold_id not in ids:
            yield f"the ledger holds {hold_id} ({hold['state']}), the gateway knows nothing of it"
    debits_minor = credits_minor = 0
    balances: dict[str, int] = {}
    for row in seen.accounts:
        debits_minor += row["debits_minor"]
        credits_minor += row["credits_minor"]
        balances[row["account_id"]] = row["debits_minor"] - row["credits_minor"]
        if (row["debits_minor"], row["credits_minor"], row["sequence"]) != (
            row["debits_sum"],
            row["credits_sum"],
            row["entries_count"],
        ):
            yield f"{row['account_id']}: the balance is not the sum of its entries"
        if row["held_minor"]:
            yield f"{row['account_id']}: {row['held_minor']} still held"
    if debits_minor != credits_minor:
        yield f"the trial balance is off by {debits_minor - credits_minor}"
    owed: Counter[str] = Counter()
    for row in seen.book:
        owed[f"channel/{row['account_id']}/receivable/CNY"] += (
            BOOK_SIGNS[row["kind"]] * row["amount"] * _times_moved(row)
        )
    for account_id, amount_minor in owed.items():
        if balances.get(account_id, 0) != amount_minor:
            yield f"{account_id}: the channel owes {amount_minor}, booked {balances.get(account_id)}"


async def clean(world: World, merchant_id: str = "") -> bool:
    """Whether the audit finds nothing; False also while a store is away."""
    try:
        return not await audit(world, merchant_id)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
