"""What banks tell of payouts, in pain.002 and camt.052/053/054, as facts about single payouts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from libs import camt
from libs.camt import ReportInvalid
from libs.markup import Element
from services.gateway.channels.answers import Malformed

STATUS_REPORT: Final = "pain.002"
BOOKED, RETURNED = "BOOKED", "RETURNED"
_STATUS_ROOT: Final = "CstmrPmtStsRpt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing a bank said: of one payout, or (no `end_to_end_id`) of every payout in a message.

    `status` is the bank's (ACSC, RJCT, …), or BOOKED or RETURNED for a movement on the account.
    """

    message_id: str
    end_to_end_id: str
    status: str
    reason_code: str = ""
    reason_text: str = ""
    said_at: datetime | None = None
    moved_at: datetime | None = None
    servicer_ref: str = ""
    amount_minor: int | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A document: what it says of payouts, and the account reports it is made of."""

    kind: str
    facts: tuple[Fact, ...]
    reports: tuple[camt.Report, ...] = ()


def read(content: bytes, *, zone: tzinfo) -> Told:
    """Any document a bank sends. Raises Malformed."""
    try:
        document = camt.read(content, zone=zone)
        if document.kind == STATUS_REPORT:
            return Told(kind=STATUS_REPORT, facts=tuple(_statuses(document.root, zone)))
    except ReportInvalid as error:
        raise Malformed(str(error)) from error
    if not document.reports:
        raise Malformed("neither a status report nor an account report")
    facts = tuple(fact for report in document.reports for fact in _movements(report))
    return Told(kind=document.kind, facts=facts, reports=document.reports)


def _statuses(root: Element, zone: tzinfo) -> Iterator[Fact]:
    report = root.find(_STATUS_ROOT)
    if report is None:
        raise Malformed("the status report is empty")
    said_at = camt.instant(report.value("GrpHdr", "CreDtTm"), zone)
    group = report.find("OrgnlGrpInfAndSts")
    if group is None:
        raise Malformed("the status report does not say of what", field="OrgnlGrpInfAndSts")
    message_id = camt.reference(group.value("OrgnlMsgId"))
    if status := group.value("GrpSts"):
        yield _said(group, status, (message_id, ""), said_at, zone)
    for payment in report.all("OrgnlPmtInfAndSts"):
        # One block a message is what we send, so its status is the message's.
        if status := payment.value("PmtInfSts"):
            yield _said(payment, status, (message_id, ""), said_at, zone)
        for each in payment.all("TxInfAndSts"):
            reference = camt.reference(each.value("OrgnlEndToEndId"))
            if reference and (status := each.value("TxSts")):
                yield _said(each, status, (message_id, reference), said_at, zone)


def _said(
    source: Element,
    status: str,
    references: tuple[str, str],
    said_at: datetime | None,
    zone: tzinfo,
) -> Fact:
    message_id, end_to_end_id = references
    reason = source.find("StsRsnInf")
    stated = source.find("OrgnlTxRef", "Amt", "InstdAmt")
    currency, amount_minor = ("", None) if stated is None else camt.amount(stated)
    return Fact(
        message_id=message_id,
        end_to_end_id=end_to_end_id,
        status=camt.reference(status),
        reason_code="" if reason is None else camt.code_of(reason, "Rsn"),
        reason_text="" if reason is None else camt.reference(reason.value("AddtlInf")),
        said_at=said_at,
        moved_at=camt.instant(source.value("AccptncDtTm"), zone),
        servicer_ref=camt.reference(source.value("AcctSvcrRef")),
        amount_minor=amount_minor,
        currency=currency,
    )


def _movements(report: camt.Report) -> Iterator[Fact]:
    """Money that left for a payout, or came back from one. What is only expected says nothing."""
    for movement in report.movements:
        if not movement.is_booked or not movement.end_to_end_id or movement.is_charge:
            continue
        # Money coming in under a number of ours is one that went out under it.
        came_back = movement.is_credit
        if movement.is_return and not came_back:
            continue
        yield Fact(
            message_id=movement.message_id,
            end_to_end_id=movement.end_to_end_id,
            status=RETURNED if came_back else BOOKED,
            reason_code=movement.reason_code,
            reason_text=movement.reason_text,
            said_at=report.created_at,
            moved_at=movement.booked_at,
            servicer_ref=movement.servicer_ref,
            amount_minor=movement.amount_minor,
            currency=movement.currency,
        )
