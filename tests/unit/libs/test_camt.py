"""Account reports: both families of versions, batches, returns, and what must not be believed."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs import camt
from libs.camt import ReportInvalid

HEAD = '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt><GrpHdr><MsgId>M</MsgId><CreDtTm>2026-11-12T01:00:00</CreDtTm></GrpHdr><Stmt><Id>S1</Id>'
BALANCE = '<Acct><Id><IBAN>DE02120300000000202051</IBAN></Id></Acct><Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">10.00000</Amt><CdtDbtInd>DBIT</CdtDbtInd><Dt><Dt>2026-11-11</Dt></Dt></Bal>'
TAIL = "</Stmt></BkToCstmrStmt></Document>"
ENTRY = (
    '<Ntry><Amt Ccy="EUR">30.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts>{status}</Sts>'
    "<BookgDt><Dt>2026-11-11</Dt></BookgDt><BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>ICDT</Cd>"
    "<SubFmlyCd>{family}</SubFmlyCd></Fmly></Domn></BkTxCd><NtryDtls>{details}</NtryDtls></Ntry>"
)


def details(reference: str, amount: str, *, version: str = "08", more: str = "") -> str:
    stated = f'<Amt Ccy="EUR">{amount}</Amt>'
    if version == "02":
        stated = f"<AmtDtls><TxAmt>{stated}</TxAmt></AmtDtls>"
    return f"<TxDtls><Refs><EndToEndId>{reference}</EndToEndId></Refs>{stated}{more}</TxDtls>"


def document(*entries: str, version: str = "08") -> bytes:
    return (HEAD.format(version=version) + BALANCE + "".join(entries) + TAIL).encode()


@pytest.mark.parametrize("version", ["02", "04", "08"])
def test_one_entry_of_many_orders_is_as_many_movements(version: str) -> None:
    status = "BOOK" if version == "02" else "<Cd>BOOK</Cd>"
    parts = details("p1", "10.00", version=version) + details("p2", "20", version=version)
    entry = ENTRY.format(status=status, family="DMCT", details=parts)
    (report,) = camt.parse(document(entry, version=version))
    assert (report.kind, report.account, report.entries_count) == (
        "camt.053",
        "DE02120300000000202051",
        1,
    )
    assert [
        (each.end_to_end_id, each.amount_minor, each.is_booked) for each in report.movements
    ] == [
        ("p1", 1000, True),
        ("p2", 2000, True),
    ]
    opening = report.balance("OPBD")
    assert opening is not None
    assert (opening.amount_minor, str(opening.day)) == (-1000, "2026-11-11")


def test_an_order_of_its_own_amount_that_does_not_add_up_is_refused() -> None:
    parts = details("p1", "10.00") + details("p2", "19.99")
    entry = ENTRY.format(status="BOOK", family="DMCT", details=parts)
    with pytest.raises(ReportInvalid):
        camt.parse(document(entry))


def test_what_is_expected_is_not_booked_and_what_is_not_provided_is_no_reference() -> None:
    entry = ENTRY.format(
        status="<Cd>PDNG</Cd>", family="DMCT", details=details("NOTPROVIDED", "30")
    )
    ((movement,),) = [report.movements for report in camt.parse(document(entry))]
    assert not movement.is_booked
    assert movement.end_to_end_id == ""


def test_a_return_tells_its_reason_and_a_charge_is_one() -> None:
    reason = "<RtrInf><Rsn><Cd>AC04</Cd></Rsn><AddtlInf>closed</AddtlInf></RtrInf>"
    back = ENTRY.format(status="BOOK", family="RRTN", details=details("p1", "30", more=reason))
    fee = ENTRY.format(status="BOOK", family="CHRG", details=details("p1", "30"))
    (report,) = camt.parse(document(back, fee))
    first, second = report.movements
    assert (first.is_return, first.reason_code, first.reason_text) == (True, "AC04", "closed")
    assert (second.is_charge, second.is_return) == (True, False)


def test_an_order_in_a_foreign_currency_moved_what_the_entry_says() -> None:
    foreign = '<TxDtls><AmtDtls><InstdAmt><Amt Ccy="USD">33.10</Amt></InstdAmt></AmtDtls></TxDtls>'
    entry = ENTRY.format(status="BOOK", family="DMCT", details=foreign)
    ((movement,),) = [report.movements for report in camt.parse(document(entry))]
    assert (movement.currency, movement.amount_minor) == ("EUR", 3000)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("1", "JPY", 1),
        ("100.00000", "JPY", 100),
        ("1.234", "KWD", 1234),
        ("0.10", "EUR", 10),
        ("12.", "EUR", 1200),
    ],
)
def test_amounts_are_exact_in_the_units_of_their_currency(
    text: str, currency: str, minor: int
) -> None:
    assert camt.minor_units(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("0.001", "EUR"),
        ("0.5", "JPY"),
        ("-1", "EUR"),
        ("1e3", "EUR"),
        ("", "EUR"),
        (".5", "EUR"),
        ("9" * 16, "KWD"),
        ("١", "EUR"),
    ],
)
def test_amounts_that_are_not_are_refused(text: str, currency: str) -> None:
    with pytest.raises(ReportInvalid):
        camt.minor_units(text, currency)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_a_statement_breaks_the_reader(data: st.DataObject) -> None:
    entry = ENTRY.format(status="BOOK", family="DMCT", details=details("p1", "30"))
    content = bytearray(document(entry))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        length = data.draw(st.integers(0, 12))
        content[place : place + length] = data.draw(st.binary(max_size=12))
    with contextlib.suppress(ReportInvalid):
        camt.parse(bytes(content))
