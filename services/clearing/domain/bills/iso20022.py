"""camt.053 of ISO 20022, any version: one account's day, believed when its movements explain its balances."""

from datetime import UTC, datetime

from libs import camt
from libs.camt import Report, ReportInvalid
from services.clearing.domain.bills import model, movements
from services.clearing.domain.bills.model import Bill
from services.clearing.domain.bills.movements import Movement
from services.clearing.domain.errors import BillReason, BillRejected


def parse(content: bytes) -> Bill:
    """Read the statement. Raises BillRejected."""
    try:
        reports = camt.parse(content)
    except ReportInvalid as error:
        raise BillRejected(BillReason.TRUNCATED, str(error)) from error
    if not reports or any(report.kind != camt.STATEMENT for report in reports):
        raise model.header_invalid(1, "is not a camt.053 statement")
    if len({report.account for report in reports}) != 1:
        raise model.header_invalid(1, "is of several accounts")
    found: list[Movement] = []
    for report in reports:
        if report.page != 1 or not report.is_last_page:
            raise BillRejected(BillReason.TRUNCATED, "is one page of several")
        of_report = [
            _movement(each, len(found) + number, report)
            for number, each in enumerate(report.movements, start=1)
            if each.is_booked
        ]
        opening, closing = report.balance("OPBD", "PRCD"), report.balance("CLBD")
        if opening is None or closing is None:
            raise BillRejected(BillReason.TRUNCATED, "has no opening or no closing balance")
        movements.check_balances(
            {opening.currency: opening.amount_minor},
            {closing.currency: closing.amount_minor},
            of_report,
        )
        found += of_report
    return movements.bill(found)


def _movement(source: camt.Movement, number: int, report: Report) -> Movement:
    booked_at = source.booked_at or report.until_at or report.created_at
    return Movement(
        line_number=number,
        reference=source.end_to_end_id,
        bank_reference=source.servicer_ref,
        currency=source.currency,
        amount_minor=source.amount_minor,
        is_credit=source.is_credit,
        is_charge=source.is_charge,
        is_return=source.is_return,
        booked_at=booked_at or datetime.min.replace(tzinfo=UTC),
    )
