"""Account reports of ISO 20022: camt.052 (during the day), camt.053 (the day), camt.054 (single movements).

Namespaces say the version (…:camt.053.001.02, …:camt.053.001.08); what differs between them is read in either form.
Amounts become minor units exactly; reports of banks with five decimals are fine while the surplus ones are zeros.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Final

from libs import markup, money
from libs.markup import Element

INTRADAY, STATEMENT, NOTIFICATION = "camt.052", "camt.053", "camt.054"
_ROOTS: Final = {
    INTRADAY: "BkToCstmrAcctRpt",
    STATEMENT: "BkToCstmrStmt",
    NOTIFICATION: "BkToCstmrDbtCdtNtfctn",
}
_REPORTS: Final = ("Rpt", "Stmt", "Ntfctn")
_PAGE: Final = re.compile("[0-9]{1,5}", re.ASCII)
NAMESPACE: Final = re.compile(
    r"urn:iso:std:iso:20022:tech:xsd:((?:pain|camt)\.\d{3})\.\d{3}\.(\d{2})", re.ASCII
)
CREDIT, DEBIT = "CRDT", "DBIT"
BOOKED: Final = "BOOK"
# EndToEndId of an order that was given none.
NOT_PROVIDED: Final = "NOTPROVIDED"
_CHARGES: Final = frozenset({"CHRG", "COMM", "FEES"})
_RETURNS: Final = frozenset({"RRTN", "RPCR", "UPCT"})
_DECIMAL: Final = re.compile(r"[0-9]{1,16}(?:\.([0-9]{0,12}))?", re.ASCII)
REFERENCE_LENGTH_MAX: Final = 128


class ReportInvalid(ValueError):
    """Not a report that can be believed; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What stood on the account. `kind` is the bank's code: OPBD, CLBD, ITAV, CLAV, …"""

    kind: str
    currency: str
    amount_minor: int
    """Negative for an account in debt."""
    day: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One order's part of an entry; an entry without details is one movement."""

    end_to_end_id: str
    message_id: str
    servicer_ref: str
    currency: str
    amount_minor: int
    is_credit: bool
    is_booked: bool
    is_charge: bool
    is_return: bool
    reason_code: str
    reason_text: str
    booked_at: datetime | None
    entry_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One account's report."""

    kind: str
    report_id: str
    account: str
    created_at: datetime | None
    from_at: datetime | None
    until_at: datetime | None
    page: int
    is_last_page: bool
    balances: tuple[Balance, ...]
    movements: tuple[Movement, ...]
    entries_count: int

    def balance(self, *kinds: str) -> Balance | None:
        """The first balance of one of the kinds, in the order of the kinds."""
        return next((each for kind in kinds for each in self.balances if each.kind == kind), None)


def kind_of(root: Element) -> str:
    """Message name without version ("camt.053", "pain.002"); "" for anything else."""
    match = NAMESPACE.fullmatch(root.namespace)
    return match.group(1) if match and root.name == "Document" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A message of the standard: its kind, its account reports, and all else as it stands."""

    kind: str
    root: Element
    reports: tuple[Report, ...]


def parse(content: bytes, *, zone: tzinfo = UTC) -> list[Report]:
    """The reports of a document. Times without a zone are in `zone`. Raises ReportInvalid."""
    document = read(content, zone=zone)
    if document.kind not in _ROOTS:
        raise ReportInvalid("not an account report")
    return list(document.reports)


def read(content: bytes, *, zone: tzinfo = UTC) -> Document:
    """Any message. Raises ReportInvalid. Its entries are read one by one and not held as XML."""
    entries: list[tuple[Movement, ...]] = []
    found: list[tuple[Element, list[tuple[Movement, ...]]]] = []

    def take_entry(element: Element) -> None:
        entries.append(tuple(_movements(len(entries) + 1, element, zone)))

    def take_report(element: Element) -> None:
        found.append((element, entries.copy()))
        entries.clear()

    take = {"Ntry": take_entry} | dict.fromkeys(_REPORTS, take_report)
    try:
        root = markup.parse(content, take=take)
    except markup.MarkupInvalid as error:
        raise ReportInvalid(str(error)) from error
    kind = kind_of(root)
    if kind not in _ROOTS:
        return Document(kind=kind, root=root, reports=())
    created_at = instant(root.value(_ROOTS[kind], "GrpHdr", "CreDtTm"), zone)
    reports = tuple(_report(kind, each, of_it, created_at, zone) for each, of_it in found)
    return Document(kind=kind, root=root, reports=reports)


def _report(
    kind: str,
    source: Element,
    entries: Sequence[tuple[Movement, ...]],
    created_at: datetime | None,
    zone: tzinfo,
) -> Report:
    page = source.value("StmtPgntn", "PgNb") or source.value("RptPgntn", "PgNb") or "1"
    last = source.value("StmtPgntn", "LastPgInd") or source.value("RptPgntn", "LastPgInd")
    return Report(
        kind=kind,
        report_id=reference(source.value("Id")),
        account=source.value("Acct", "Id", "IBAN") or source.value("Acct", "Id", "Othr", "Id"),
        created_at=instant(source.value("CreDtTm"), zone) or created_at,
        from_at=instant(source.value("FrToDt", "FrDtTm"), zone),
        until_at=instant(source.value("FrToDt", "ToDtTm"), zone),
        page=int(page) if _PAGE.fullmatch(page) else 0,
        is_last_page=last in ("", "true", "1"),
        balances=tuple(_balance(each, zone) for each in source.all("Bal")),
        movements=tuple(movement for entry in entries for movement in entry),
        entries_count=len(entries),
    )


def _balance(source: Element, zone: tzinfo) -> Balance:
    currency, amount_minor = amount(source.find("Amt"))
    moment = _moment(source.find("Dt"), zone)
    return Balance(
        kind=source.value("Tp", "CdOrPrtry", "Cd") or source.value("Tp", "CdOrPrtry", "Prtry"),
        currency=currency,
        amount_minor=amount_minor if _is_credit(source) else -amount_minor,
        day=moment.astimezone(zone).date() if moment else None,
    )


def _movements(number: int, entry: Element, zone: tzinfo) -> Iterator[Movement]:
    currency, entry_minor = amount(entry.find("Amt"))
    details = list(entry.all("NtryDtls", "TxDtls")) or [Element("TxDtls", "", {})]
    total_minor = 0
    for each in details:
        stated = _detail_amount(each)
        if stated is None and len(details) > 1:
            raise ReportInvalid(f"entry {number}: an order of several states no amount")
        detail_currency, detail_minor = stated or (currency, entry_minor)
        if detail_currency != currency:
            # The order was in another currency than the account: the entry says what moved.
            if len(details) > 1:
                raise ReportInvalid(f"entry {number}: orders in a currency of their own")
            detail_minor = entry_minor
        total_minor += detail_minor
        yield _movement(
            number, entry, each, currency=currency, amount_minor=detail_minor, zone=zone
        )
    if total_minor != entry_minor:
        raise ReportInvalid(f"entry {number}: its orders come to {total_minor}, not {entry_minor}")


def _detail_amount(details: Element) -> tuple[str, int] | None:
    for path in (("Amt",), ("AmtDtls", "TxAmt", "Amt"), ("AmtDtls", "InstdAmt", "Amt")):
        found = details.find(*path)
        if found is not None:
            return amount(found)
    return None


def _movement(
    number: int,
    entry: Element,
    details: Element,
    *,
    currency: str,
    amount_minor: int,
    zone: tzinfo,
) -> Movement:
    codes = {source.value("BkTxCd", "Domn", "Fmly", "SubFmlyCd") for source in (entry, details)}
    returned = details.find("RtrInf")
    is_reversal = entry.value("RvslInd") in ("true", "1")
    status = entry.value("Sts", "Cd") or entry.value("Sts")
    return Movement(
        end_to_end_id=_known(details.value("Refs", "EndToEndId")),
        message_id=_known(details.value("Refs", "MsgId")),
        servicer_ref=reference(details.value("Refs", "AcctSvcrRef") or entry.value("AcctSvcrRef")),
        currency=currency,
        amount_minor=amount_minor,
        is_credit=_is_credit(entry),
        is_booked=status == BOOKED,
        is_charge=bool(codes & _CHARGES),
        is_return=returned is not None or is_reversal or bool(codes & _RETURNS),
        reason_code="" if returned is None else code_of(returned, "Rsn"),
        reason_text="" if returned is None else reference(returned.value("AddtlInf")),
        booked_at=_moment(entry.find("BookgDt"), zone),
        entry_number=number,
    )


def code_of(source: Element, *path: str) -> str:
    """A reason: its code of the standard, else the bank's own."""
    return reference(source.value(*path, "Cd") or source.value(*path, "Prtry"))


def _known(text: str) -> str:
    return "" if text == NOT_PROVIDED else reference(text)


def reference(text: str) -> str:
    """A reference or a short text, cut to what is kept."""
    return text.replace("\0", "")[:REFERENCE_LENGTH_MAX]


def _is_credit(source: Element) -> bool:
    indicator = source.value("CdtDbtInd")
    if indicator not in (CREDIT, DEBIT):
        raise ReportInvalid(f"{indicator[:8]!r} is neither {CREDIT} nor {DEBIT}")
    return indicator == CREDIT


def amount(source: Element | None) -> tuple[str, int]:
    """Currency and minor units of an amount. Raises ReportInvalid."""
    if source is None:
        raise ReportInvalid("an amount is missing")
    currency = source.attributes.get("Ccy", "")
    if not money.is_currency(currency):
        raise ReportInvalid(f"{currency[:8]!r} is not a currency")
    return currency, minor_units(source.text.strip(), currency)


def minor_units(text: str, currency: str) -> int:
    """A plain decimal in minor units, exactly. Raises ReportInvalid."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ReportInvalid("not a plain decimal amount")
    digits = money.exponent(currency)
    whole, _, fraction = text.partition(".")
    if fraction[digits:].strip("0"):
        raise ReportInvalid(f"{currency} has {digits} decimals")
    value = int(whole + fraction[:digits].ljust(digits, "0"))
    if value > money.AMOUNT_MINOR_MAX:
        raise ReportInvalid("the amount is out of range")
    return value


def _moment(source: Element | None, zone: tzinfo) -> datetime | None:
    """A choice of a date or a time."""
    if source is None:
        return None
    return instant(source.value("DtTm") or source.value("Dt"), zone)


def instant(text: str, zone: tzinfo) -> datetime | None:
    """An ISO 8601 date or time as an aware time; None for none. Raises ReportInvalid."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ReportInvalid("a time is none") from error
