"""What the sandbox's bank writes is valid by the standard's own schemas, and read by both its readers."""

from datetime import UTC, date, datetime

import pytest

from services.clearing.domain import bills
from services.sandbox import bank, records
from services.sandbox import bills as sandbox_bills
from services.sandbox.iso20022 import messages
from services.sandbox.iso20022.messages import Versions
from services.sandbox.records import Account, Payout, Profile
from tests import iso20022_schema

NOW = datetime(2026, 11, 11, 9, 30, tzinfo=UTC)
ACCOUNT = Account(
    provider="iso20022",
    account_id="a1",
    profile=Profile(currency="EUR"),
    terms={"account": "DE02120300000000202051", "public_key_pem": ""},
)
OLD, NEW = Versions(status="03", account="02"), Versions(status="10", account="08")


def payout(
    out_ref: str, status: str = records.SUCCEEDED, *, fee: int = 15, code: str = ""
) -> Payout:
    return Payout(
        account_id="a1",
        out_ref=out_ref,
        status=status,
        amount=5000,
        currency="EUR",
        payee_account="6222",
        payee_name="A",
        description="",
        provider_ref=f"P{out_ref}",
        code=code,
        fee=fee,
        settle_at_ms=None,
        created_at=NOW,
        finished_at=None if status == records.PROCESSING else NOW,
        returned_at=NOW if status == records.RETURNED else None,
    )


@pytest.mark.parametrize("versions", [OLD, NEW])
def test_status_reports_are_valid(versions: Versions) -> None:
    failed = payout("p2", records.FAILED, code="NOT_ENOUGH")
    for content in (
        messages.status_report("m1", [payout("p1")], NOW, versions),
        messages.status_report("m1", [payout("p1", records.PROCESSING), failed], NOW, versions),
        messages.status_report("m1", [], NOW, versions, group_status="RJCT", reason="FF01"),
    ):
        assert iso20022_schema.problems(content) == []


@pytest.mark.parametrize("versions", [OLD, NEW])
def test_account_reports_are_valid_and_explain_their_balances(versions: Versions) -> None:
    back = sandbox_bills.payout_return(payout("p2", records.RETURNED))
    lines: list[bank.Line] = [payout("p1"), back]
    content = messages.statement(ACCOUNT, date(2026, 11, 11), lines, 4000, versions)
    assert iso20022_schema.problems(content) == []
    assert [line.out_ref for line in bills.parse("iso20022", content).lines] == ["p1", "p2"]
    for other in (
        messages.balance_report(ACCOUNT, -5, NOW, versions),
        messages.notification(ACCOUNT, lines, NOW, versions),
    ):
        assert iso20022_schema.problems(other) == []
    assert bank.moved_at(back) == NOW
