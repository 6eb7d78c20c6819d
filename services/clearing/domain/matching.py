"""Exact matching of our items with a bill's lines, and the class of each disagreement.

The store does this same work in SQL (`match_day`); this is its specification, and its oracle in tests.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from libs.money import Money
from services.clearing.domain.bills.model import BillLine, LineStatus
from services.clearing.domain.model import DifferenceKind, Item, ItemKind

Key: TypeAlias = tuple[ItemKind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement, before it becomes a difference. Amounts of several lines are their sum."""

    kind: DifferenceKind
    item_kind: ItemKind
    out_ref: str
    subject_id: str = ""
    merchant_id: str = ""
    our_currency: str = ""
    our_amount_minor: int = 0
    channel_currency: str = ""
    channel_amount_minor: int = 0
    line_number: int = 0
    channel_status: str = ""
    items_count: int = 0
    lines_count: int = 0


@dataclass(frozen=True, slots=True)
class Matching:
    """What agrees, by subject, and what does not."""

    matched: frozenset[str]
    findings: frozenset[Finding]


@dataclass(frozen=True, slots=True)
class _Theirs:
    status: LineStatus
    currency: str
    amount_minor: int
    line_number: int
    succeeded_count: int


def match(items: Iterable[Item], lines: Iterable[BillLine]) -> Matching:
    """Compare a channel's items and lines of one bill by (kind, out_ref).

    One class a key, the gravest first: LONG or SHORT when a side is missing, then DUPLICATE,
    STATUS, CURRENCY, AMOUNT. A line that did not succeed and that we know nothing of is no
    difference: nothing moved, and both sides say so.
    """
    ours: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        ours[item.kind, item.out_ref].append(item)
    theirs: dict[Key, list[BillLine]] = defaultdict(list)
    for line in lines:
        theirs[line.kind, line.out_ref].append(line)
    matched: set[str] = set()
    findings: set[Finding] = set()
    for key in ours.keys() | theirs.keys():
        mine = sorted(ours.get(key, []), key=lambda item: item.subject_id)
        other = _group(theirs[key]) if key in theirs else None
        kind = _classify(mine, other)
        if kind is not None:
            findings.add(_finding(kind, key, mine, other))
        else:
            matched |= {item.subject_id for item in mine}
    return Matching(frozenset(matched), frozenset(findings))


def _group(lines: Sequence[BillLine]) -> _Theirs:
    first = min(lines, key=lambda line: line.line_number)
    succeeded = [line for line in lines if line.status is LineStatus.SUCCEEDED]
    status = first.status
    if any(line.status is LineStatus.REVOKED for line in lines):
        status = LineStatus.REVOKED
    elif succeeded:
        status = LineStatus.SUCCEEDED
    return _Theirs(
        status=status,
        currency=first.currency,
        amount_minor=sum(line.amount_minor for line in succeeded or [first]),
        line_number=first.line_number,
        succeeded_count=len(succeeded),
    )


def _classify(mine: Sequence[Item], other: _Theirs | None) -> DifferenceKind | None:
    if other is None:
        return DifferenceKind.SHORT
    if not mine:
        return DifferenceKind.LONG if other.status is LineStatus.SUCCEEDED else None
    if len(mine) > 1 or other.succeeded_count > 1:
        return DifferenceKind.DUPLICATE
    if other.status is not LineStatus.SUCCEEDED:
        return DifferenceKind.STATUS
    if mine[0].currency != other.currency:
        return DifferenceKind.CURRENCY
    if mine[0].amount_minor != other.amount_minor:
        return DifferenceKind.AMOUNT
    return None


def _finding(
    kind: DifferenceKind, key: Key, mine: Sequence[Item], other: _Theirs | None
) -> Finding:
    item_kind, out_ref = key
    return Finding(
        kind=kind,
        item_kind=item_kind,
        out_ref=out_ref,
        subject_id=mine[0].subject_id if mine else "",
        merchant_id=mine[0].merchant_id if mine else "",
        our_currency=mine[0].currency if mine else "",
        our_amount_minor=sum(item.amount_minor for item in mine),
        channel_currency=other.currency if other else "",
        channel_amount_minor=other.amount_minor if other else 0,
        line_number=other.line_number if other else 0,
        channel_status=other.status if other else "",
        items_count=len(mine),
        lines_count=other.succeeded_count if other else 0,
    )


def describe(finding: Finding) -> str:
    """Return one sentence with the figures."""
    ours = _money(finding.our_currency, finding.our_amount_minor)
    theirs = _money(finding.channel_currency, finding.channel_amount_minor)
    what = f"{finding.item_kind.lower()} {finding.out_ref}"
    match finding.kind:
        case DifferenceKind.LONG:
            return f"长款: the channel has {what} of {theirs}, we do not."
        case DifferenceKind.SHORT:
            return f"短款: we have {what} of {ours}, the channel does not."
        case DifferenceKind.AMOUNT:
            return f"金额不符: {what} is {ours} with us and {theirs} at the channel."
        case DifferenceKind.STATUS:
            return f"状态不符: {what} succeeded with us; the channel says {finding.channel_status}."
        case DifferenceKind.CURRENCY:
            return f"币种不符: {what} is {ours} with us and {theirs} at the channel."
        case DifferenceKind.DUPLICATE:
            counts = f"{finding.items_count} with us, {finding.lines_count} at the channel"
            return f"重复: {what} stands more than once ({counts})."


def _money(currency: str, amount_minor: int) -> str:
    return str(Money(currency, amount_minor)) if currency else ""
