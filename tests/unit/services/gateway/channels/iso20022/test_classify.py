"""What a bank's words come to, in whatever order they arrive."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.channels.answers import Malformed
from services.gateway.channels.iso20022 import classify, reports
from services.gateway.channels.iso20022.reports import BOOKED, RETURNED, Fact
from services.gateway.domain.channel import OutcomeKind

START = datetime(2026, 11, 11, tzinfo=UTC)


def fact(
    status: str, hour: int = 0, *, reference: str = "p1", code: str = "", amount: int | None = None
) -> Fact:
    return Fact(
        message_id="m1",
        end_to_end_id=reference,
        status=status,
        reason_code=code,
        said_at=START + timedelta(hours=hour),
        amount_minor=amount,
        currency="" if amount is None else "EUR",
    )


@pytest.mark.parametrize(
    ("facts", "kind", "code"),
    [
        ([fact("RCVD")], OutcomeKind.PENDING, "RCVD"),
        ([fact("RCVD"), fact("ACTC", 1), fact("ACSP", 2)], OutcomeKind.PENDING, "ACSP"),
        (
            [fact("RJCT", code="AC01"), fact("RJCT", 1, code="AC04")],
            OutcomeKind.DECLINED_HARD,
            "ACCOUNT_CLOSED",
        ),
        ([fact("ACSP"), fact("ACSC", 1)], OutcomeKind.SUCCEEDED, "ACSC"),
        ([fact("ACSP"), fact(BOOKED, 1, amount=5)], OutcomeKind.SUCCEEDED, BOOKED),
        ([fact("RJCT", code="AC01")], OutcomeKind.DECLINED_HARD, "ACCOUNT_NOT_FOUND"),
        ([fact("RJCT", code="AM04")], OutcomeKind.DECLINED_SOFT, "INSUFFICIENT_FUNDS"),
        ([fact("RJCT", code="TM01")], OutcomeKind.DECLINED_SOFT, "TM01"),
        ([fact("RJCT", code="ZZ99")], OutcomeKind.DECLINED_HARD, "ZZ99"),
        ([fact("CANC")], OutcomeKind.CLOSED, "CANC"),
        ([fact("ABCD")], OutcomeKind.UNKNOWN, "ABCD"),
        # A refusal after money moved is money coming back.
        ([fact("ACSC"), fact("RJCT", 1, code="AC04")], OutcomeKind.RETURNED, "ACCOUNT_CLOSED"),
        ([fact(BOOKED), fact(RETURNED, 1, code="AC04")], OutcomeKind.RETURNED, "ACCOUNT_CLOSED"),
        # What is said of the payout itself outweighs what is said of its message.
        (
            [fact("PART", reference=""), fact("RJCT", code="AC01")],
            OutcomeKind.DECLINED_HARD,
            "ACCOUNT_NOT_FOUND",
        ),
        ([fact("RJCT", 1, reference="", code="FF01"), fact("ACSC")], OutcomeKind.SUCCEEDED, "ACSC"),
        ([fact("PART", reference="")], OutcomeKind.PENDING, "PART"),
        ([fact("RJCT", reference="", code="FF01")], OutcomeKind.DECLINED_HARD, "FF01"),
        ([fact("ACSC", reference="")], OutcomeKind.SUCCEEDED, "ACSC"),
        # A number used twice: the refusal is about the second message.
        ([fact("ACSP"), fact("RJCT", 1, code="DU04")], OutcomeKind.PENDING, "ACSP"),
        ([fact("ACSP"), fact("RJCT", 1, reference="", code="AM05")], OutcomeKind.PENDING, "ACSP"),
    ],
)
def test_facts_come_to_the_same_in_any_order(
    facts: list[Fact], kind: OutcomeKind, code: str
) -> None:
    for order in itertools.permutations(facts):
        outcome = classify.fold(order, "p1")
        assert outcome is not None
        assert (outcome.kind, outcome.code) == (kind, code)


def test_what_is_said_of_another_payout_says_nothing_of_this_one() -> None:
    assert classify.fold([fact("RJCT", reference="p2", code="AC01")], "p1") is None
    assert classify.fold([fact("RJCT", code="DU01")], "p1") is None


def test_a_success_names_the_amount_if_anything_does() -> None:
    outcome = classify.fold([fact(BOOKED, amount=500), fact("ACSC", 1)], "p1")
    assert outcome is not None
    assert (outcome.amount_minor, outcome.currency) == (500, "EUR")


REPORT = """<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.{version}"><CstmrPmtStsRpt>
<GrpHdr><MsgId>S1</MsgId><CreDtTm>2026-11-11T10:00:00</CreDtTm></GrpHdr>
<OrgnlGrpInfAndSts><OrgnlMsgId>m1</OrgnlMsgId><OrgnlMsgNmId>pain.001</OrgnlMsgNmId><GrpSts>PART</GrpSts></OrgnlGrpInfAndSts>
<OrgnlPmtInfAndSts><OrgnlPmtInfId>m1</OrgnlPmtInfId>
<TxInfAndSts><OrgnlEndToEndId>p1</OrgnlEndToEndId><TxSts>RJCT</TxSts><StsRsnInf><Rsn><Cd>AC04</Cd></Rsn>
<AddtlInf>closed</AddtlInf></StsRsnInf><OrgnlTxRef><Amt><InstdAmt Ccy="EUR">5.00</InstdAmt></Amt></OrgnlTxRef></TxInfAndSts>
</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"""


@pytest.mark.parametrize("version", ["03", "10"])
def test_a_status_report_is_read_at_each_of_its_levels(version: str) -> None:
    told = reports.read(REPORT.format(version=version).encode(), zone=UTC)
    group, single = told.facts
    assert (group.end_to_end_id, group.status, group.message_id) == ("", "PART", "m1")
    assert (single.status, single.reason_code, single.amount_minor) == ("RJCT", "AC04", 500)
    assert single.said_at == datetime(2026, 11, 11, 10, tzinfo=UTC)
    others = classify.fold(told.facts, "p2")
    assert others is not None
    assert others.kind is OutcomeKind.PENDING


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<Document/>",
        REPORT.format(version="10").replace("pain.002", "pain.001").encode(),
        REPORT.format(version="10").replace("5.00", "5.001").encode(),
        b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"/>',
    ],
)
def test_what_is_no_report_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        reports.read(content, zone=UTC)
