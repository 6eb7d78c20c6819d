"""What the bank reads and writes: pain.001 in; pain.002, camt.052, camt.053 and camt.054 out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from libs import camt, markup
from libs.markup import Element, node
from libs.money import Money
from services.sandbox import bank, bills, records
from services.sandbox.clock import SHANGHAI
from services.sandbox.records import Account, Payout

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
STATUSES: Final = {
    records.PROCESSING: "ACSP",
    records.SUCCEEDED: "ACSC",
    records.RETURNED: "ACSC",
    records.FAILED: "RJCT",
}
_REASONS: Final = {"NOT_ENOUGH": "AM04", "ACCOUNT_CLOSED": "AC04"}
_MODERN: Final = "08"


class MessageInvalid(Exception):
    """The bank cannot take such a message in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One payment of a message."""

    end_to_end_id: str
    amount: int
    currency: str
    payee_account: str
    payee_name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """In which versions a company wants its messages."""

    status: str = "10"
    account: str = _MODERN


def versions(account: Account) -> Versions:
    """In which versions the company wants its messages."""
    return Versions(
        status=account.terms.get("status_version", "10"),
        account=account.terms.get("account_version", "08"),
    )


def read_payments(content: bytes, account: str) -> tuple[str, list[Transfer]]:
    """Number and payments of a message. Raises MessageInvalid."""
    try:
        root = markup.parse(content)
        initiation = root.find("CstmrCdtTrfInitn")
        if camt.kind_of(root) != "pain.001" or initiation is None:
            raise MessageInvalid("not a payment initiation")
        transfers = []
        for block in initiation.all("PmtInf"):
            debtor = block.find("DbtrAcct", "Id")
            if debtor is None or _number(debtor) != account:
                raise MessageInvalid("not this company's account")
            transfers += [_transfer(each) for each in block.all("CdtTrfTxInf")]
        message_id = initiation.value("GrpHdr", "MsgId")
        stated = (initiation.value("GrpHdr", "NbOfTxs"), initiation.value("GrpHdr", "CtrlSum"))
        currency = transfers[0].currency if transfers else "EUR"
        total = sum(each.amount for each in transfers)
        if not message_id or not transfers:
            raise MessageInvalid("the message is empty")
        if stated != (str(len(transfers)), Money(currency, total).format()):
            raise MessageInvalid("count or control sum do not agree")
    except (markup.MarkupInvalid, camt.ReportInvalid) as error:
        raise MessageInvalid(str(error)) from error
    return message_id, transfers


def _transfer(source: Element) -> Transfer:
    currency, amount = camt.amount(source.find("Amt", "InstdAmt"))
    creditor = source.find("CdtrAcct", "Id")
    end_to_end_id = source.value("PmtId", "EndToEndId")
    if creditor is None or not end_to_end_id or amount == 0:
        raise MessageInvalid("a payment without payee, reference or amount")
    return Transfer(
        end_to_end_id=end_to_end_id,
        amount=amount,
        currency=currency,
        payee_account=_number(creditor),
        payee_name=source.value("Cdtr", "Nm"),
        description=source.value("RmtInf", "Ustrd"),
    )


def _number(source: Element) -> str:
    return source.value("IBAN") or source.value("Othr", "Id")


def status_report(
    message_id: str,
    payouts: Sequence[Payout],
    now: datetime,
    versions: Versions,
    *,
    group_status: str = "",
    reason: str = "",
) -> bytes:
    """pain.002 about some payments of a message, or (without payments) about the whole."""
    statuses = {STATUSES[payout.status] for payout in payouts}
    if not group_status and len(statuses) > 1:
        group_status = "PART"
    report = node(
        "CstmrPmtStsRpt",
        node(
            "GrpHdr",
            node("MsgId", f"S{message_id}{now:%H%M%S}"[:35]),
            node("CreDtTm", now.isoformat()),
        ),
        node(
            "OrgnlGrpInfAndSts",
            node("OrgnlMsgId", message_id),
            node("OrgnlMsgNmId", "pain.001"),
            node("GrpSts", group_status) if group_status else None,
            _reason(reason),
        ),
        node(
            "OrgnlPmtInfAndSts",
            node("OrgnlPmtInfId", message_id),
            *(_status(payout) for payout in payouts),
        )
        if payouts
        else None,
    )
    return _document(report, f"pain.002.001.{versions.status}")


def _status(payout: Payout) -> Element:
    status = STATUSES[payout.status]
    return node(
        "TxInfAndSts",
        node("OrgnlInstrId", payout.out_ref),
        node("OrgnlEndToEndId", payout.out_ref),
        node("TxSts", status),
        _reason(payout.code) if status == "RJCT" else None,
        node("AccptncDtTm", payout.created_at.isoformat()) if status != "RJCT" else None,
        node("AcctSvcrRef", payout.provider_ref),
        node(
            "OrgnlTxRef",
            node(
                "Amt",
                node("InstdAmt", _amount(payout.amount, payout.currency), Ccy=payout.currency),
            ),
        ),
    )


def _reason(code: str) -> Element | None:
    if not code:
        return None
    return node("StsRsnInf", node("Rsn", node("Cd", _REASONS.get(code, code))))


def statement(
    account: Account, day: date, lines: Iterable[bank.Line], opening: int, versions: Versions
) -> bytes:
    """camt.053 of a day, with its balances before and after."""
    currency = account.profile.currency
    entries, closing = [], opening
    for line in lines:
        is_return = isinstance(line, bills.PayoutReturn)
        closing += line.amount if is_return else -line.amount
        entries.append(_entry(line, versions))
        fee = getattr(line, "fee", 0)
        if fee:
            closing -= fee
            entries.append(_fee_entry(line, fee, versions))
    start = datetime(day.year, day.month, day.day, tzinfo=SHANGHAI)
    body = node(
        "Stmt",
        node("Id", f"STM{day:%Y%m%d}"),
        node("ElctrncSeqNb", str(day.toordinal())),
        node("CreDtTm", (start + timedelta(days=1)).isoformat()),
        node(
            "FrToDt",
            node("FrDtTm", start.isoformat()),
            node("ToDtTm", (start + timedelta(days=1, seconds=-1)).isoformat()),
        ),
        _account(account),
        _balance("OPBD", opening, currency, day),
        _balance("CLBD", closing, currency, day),
        *entries,
    )
    return _document(
        node("BkToCstmrStmt", _header("STM", start), body), f"camt.053.001.{versions.account}"
    )


def balance_report(account: Account, available: int, now: datetime, versions: Versions) -> bytes:
    """camt.052: what may be paid out now."""
    body = node(
        "Rpt",
        node("Id", f"RPT{now:%Y%m%d%H%M%S}"),
        node("CreDtTm", now.isoformat()),
        _account(account),
        _balance("ITAV", available, account.profile.currency, now.date()),
    )
    return _document(
        node("BkToCstmrAcctRpt", _header("RPT", now), body), f"camt.052.001.{versions.account}"
    )


def notification(
    account: Account, lines: Iterable[bank.Line], now: datetime, versions: Versions
) -> bytes:
    """camt.054: single movements."""
    body = node(
        "Ntfctn",
        node("Id", f"NTF{now:%Y%m%d%H%M%S}"),
        node("CreDtTm", now.isoformat()),
        _account(account),
        *(_entry(line, versions) for line in lines),
    )
    return _document(
        node("BkToCstmrDbtCdtNtfctn", _header("NTF", now), body), f"camt.054.001.{versions.account}"
    )


def _header(kind: str, now: datetime) -> Element:
    return node(
        "GrpHdr", node("MsgId", f"{kind}{now:%Y%m%d%H%M%S}"), node("CreDtTm", now.isoformat())
    )


def _account(account: Account) -> Element:
    number = account.terms["account"]
    name = node("IBAN", number) if number[:2].isalpha() else node("Othr", node("Id", number))
    return node("Acct", node("Id", name), node("Ccy", account.profile.currency))


def _balance(kind: str, amount: int, currency: str, day: date) -> Element:
    return node(
        "Bal",
        node("Tp", node("CdOrPrtry", node("Cd", kind))),
        node("Amt", _amount(abs(amount), currency), Ccy=currency),
        node("CdtDbtInd", "CRDT" if amount >= 0 else "DBIT"),
        node("Dt", node("Dt", day.isoformat())),
    )


def _entry(line: bank.Line, versions: Versions) -> Element:
    is_return = isinstance(line, bills.PayoutReturn)
    returned = node("RtrInf", node("Rsn", node("Cd", "AC04"))) if is_return else None
    return _movement(
        line,
        line.amount,
        versions,
        is_credit=is_return,
        family="RRTN" if is_return else "DMCT",
        more=returned,
    )


def _fee_entry(line: bank.Line, fee: int, versions: Versions) -> Element:
    return _movement(line, fee, versions, is_credit=False, family="CHRG", more=None)


def _movement(
    line: bank.Line,
    amount: int,
    versions: Versions,
    *,
    is_credit: bool,
    family: str,
    more: Element | None,
) -> Element:
    moment = bank.moved_at(line)
    direction = node("CdtDbtInd", "CRDT" if is_credit else "DBIT")
    is_modern = versions.account >= _MODERN
    money = _amount(amount, line.currency)
    stated = node("Amt", money, Ccy=line.currency)
    details = node(
        "TxDtls",
        node("Refs", node("AcctSvcrRef", line.provider_ref), node("EndToEndId", line.out_ref)),
        stated if is_modern else node("AmtDtls", node("TxAmt", stated)),
        direction if is_modern else None,
        more,
    )
    return node(
        "Ntry",
        node("NtryRef", f"{family}{line.provider_ref}"[:35]),
        node("Amt", money, Ccy=line.currency),
        direction,
        node("Sts", node("Cd", "BOOK") if is_modern else "BOOK"),
        node("BookgDt", node("DtTm", moment.isoformat())),
        node("ValDt", node("Dt", moment.date().isoformat())),
        node("AcctSvcrRef", line.provider_ref),
        node(
            "BkTxCd",
            node(
                "Domn",
                node("Cd", "PMNT"),
                node("Fmly", node("Cd", "ICDT"), node("SubFmlyCd", family)),
            ),
        ),
        node("NtryDtls", details),
    )


def _amount(amount: int, currency: str) -> str:
    return Money(currency, amount).format()


def _document(content: Element, name: str) -> bytes:
    return markup.write(node("Document", content), namespace=NAMESPACE + name)
