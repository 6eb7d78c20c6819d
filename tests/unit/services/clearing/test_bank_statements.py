"""Banks' statements: what becomes of payouts, fees, returns and money nobody ordered; what is not believed."""

import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.clearing.domain import bills
from services.clearing.domain.bills.model import Bill
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

FEE_SCALE = 10_000


def entry(
    amount: str, side: str, *, reference: str = "", family: str = "DMCT", status: str = "BOOK"
) -> str:
    refs = f"<Refs><EndToEndId>{reference}</EndToEndId></Refs>" if reference else ""
    return (
        f'<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd><Sts>{status}</Sts>'
        "<BookgDt><DtTm>2026-11-11T10:00:00+01:00</DtTm></BookgDt><AcctSvcrRef>B1</AcctSvcrRef>"
        f"<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>ICDT</Cd><SubFmlyCd>{family}</SubFmlyCd></Fmly></Domn></BkTxCd>"
        f"<NtryDtls><TxDtls>{refs}</TxDtls></NtryDtls></Ntry>"
    )


def statement(opening: str, closing: str, *entries: str, more: str = "") -> bytes:
    def balance(kind: str, amount: str) -> str:
        side = "DBIT" if amount.startswith("-") else "CRDT"
        return (
            f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>"
            f'<Amt Ccy="EUR">{amount.lstrip("-")}</Amt><CdtDbtInd>{side}</CdtDbtInd>'
            "<Dt><Dt>2026-11-11</Dt></Dt></Bal>"
        )

    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><Stmt><Id>S</Id>'
        f"{more}<Acct><Id><Othr><Id>A1</Id></Othr></Id></Acct>"
        f"{balance('OPBD', opening)}{balance('CLBD', closing)}{''.join(entries)}"
        "</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def told(bill: Bill) -> list[tuple[ItemKind, str, int, int]]:
    return [(line.kind, line.out_ref, line.amount_minor, line.fee_e4) for line in bill.lines]


def test_movements_become_payouts_returns_fees_and_what_nobody_ordered() -> None:
    content = statement(
        "100.00",
        "-1.75",
        entry("90.00", "DBIT", reference="p1"),
        entry("0.50", "DBIT", reference="p1", family="CHRG"),
        entry("1.25", "DBIT", family="COMM"),
        entry("40.00", "CRDT", reference="p2", family="RRTN"),
        entry("60.00", "CRDT", reference="a stranger's"),
        entry("110.00", "DBIT"),
        entry("7.00", "DBIT", reference="p3", status="PDNG"),
    )
    bill = bills.parse("iso20022", content)
    assert told(bill) == [
        (ItemKind.PAYOUT, "p1", 9000, 50 * FEE_SCALE),
        (ItemKind.PAYOUT_RETURN, "p2", 4000, 0),
        (ItemKind.PAYMENT, "bank:B1", 6000, 0),
        (ItemKind.PAYOUT, "bank:B1", 11000, 0),
    ]
    assert bill.fees_e4() == {"EUR": 175 * FEE_SCALE}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (statement("100.00", "10.01", entry("90.00", "DBIT")), BillReason.TOTALS_MISMATCH),
        (statement("100.00", "10.00", entry("90.00", "DBIT"))[:-30], BillReason.TRUNCATED),
        (
            statement(
                "0", "0", more="<StmtPgntn><PgNb>1</PgNb><LastPgInd>false</LastPgInd></StmtPgntn>"
            ),
            BillReason.TRUNCATED,
        ),
        (statement("0", "0").replace(b"OPBD", b"ITBD"), BillReason.TRUNCATED),
        (statement("0", "0").replace(b"camt.053", b"camt.054"), BillReason.HEADER_INVALID),
        (statement("5", "0", entry("5.001", "DBIT")), BillReason.TRUNCATED),
    ],
)
def test_a_statement_that_does_not_explain_its_balances_is_rejected(
    content: bytes, reason: BillReason
) -> None:
    with pytest.raises(BillRejected) as caught:
        bills.parse("iso20022", content)
    assert caught.value.reason in (reason, BillReason.HEADER_INVALID)


def row(
    amount: str, side: str, balance: str, *, reference: str = "", text: str = "汇款"
) -> dict[str, str]:
    return {
        "etydat": "20261111",
        "etytim": "100000",
        "trsamt": amount,
        "amtcdr": side,
        "trsblv": balance,
        "refnbr": "B1",
        "yurref": reference,
        "naryur": text,
    }


def page(
    rows: list[dict[str, str]], debit: tuple[int, str], credit: tuple[int, str], *, more: str = "N"
) -> dict[str, Any]:
    control = {
        "cotflg": more,
        "trsseq": "1",
        "dbtnbr": str(debit[0]),
        "dbtamt": debit[1],
        "crtnbr": str(credit[0]),
        "crtamt": credit[1],
    }
    return {"ntrbptrsz1": [control], "ntqactrsz2": rows}


def day(*pages: dict[str, Any]) -> bytes:
    return orjson.dumps(
        {
            "format": "cmb-transactions-1",
            "account": "A1",
            "currency": "CNY",
            "day": "2026-11-11",
            "pages": pages,
        }
    )


FIRST = [
    row("90.00", "D", "10.00", reference="p1"),
    row("0.50", "D", "9.50", reference="p1", text="汇款手续费"),
]
SECOND = [row("40.00", "C", "49.50", reference="p2", text="退票"), row("3.00", "C", "52.50")]


@pytest.mark.parametrize(
    "second",
    [
        page(SECOND, (0, "0.00"), (2, "43.00")),
        # Some banks count from the day's beginning.
        page(SECOND, (2, "90.50"), (2, "43.00")),
    ],
)
def test_pages_of_cmb_become_one_bill(second: dict[str, Any]) -> None:
    content = day(page(FIRST, (2, "90.50"), (0, "0.00"), more="Y"), second)
    bill = bills.parse("cmb", content)
    assert told(bill) == [
        (ItemKind.PAYOUT, "p1", 9000, 50 * FEE_SCALE),
        (ItemKind.PAYOUT_RETURN, "p2", 4000, 0),
        (ItemKind.PAYMENT, "bank:B1", 300, 0),
    ]
    assert bill.lines[0].occurred_at.isoformat() == "2026-11-11T10:00:00+08:00"


BROKEN: list[Callable[[], bytes]] = [
    lambda: day(page(FIRST, (2, "90.51"), (0, "0.00"))),
    lambda: day(page(FIRST, (1, "90.50"), (0, "0.00"))),
    lambda: day(page(FIRST[:1], (2, "90.50"), (0, "0.00"))),
    lambda: day(page(FIRST, (2, "90.50"), (0, "0.00"), more="Y")),
    lambda: day(page(FIRST, (2, "90.50"), (0, "0.00")), page(SECOND, (0, "0.00"), (2, "43.00"))),
    lambda: day(page([FIRST[0], SECOND[0]], (1, "90.00"), (1, "40.00"))),
    lambda: day(page([FIRST[0] | {"trsamt": "90.001"}], (1, "90.00"), (0, "0.00"))),
    lambda: day(page([FIRST[0] | {"amtcdr": "X"}], (1, "90.00"), (0, "0.00"))),
    lambda: day(page([FIRST[0] | {"etydat": "20261331"}], (1, "90.00"), (0, "0.00"))),
    day,
    lambda: day(page(FIRST, (2, "90.50"), (0, "0.00")))[:-5],
    lambda: b"[]",
]


@pytest.mark.parametrize("make", BROKEN)
def test_pages_that_do_not_add_up_are_rejected(make: Callable[[], bytes]) -> None:
    with pytest.raises(BillRejected):
        bills.parse("cmb", make())


GOOD = {
    "iso20022": statement(
        "100.00",
        "9.50",
        entry("90.00", "DBIT", reference="p1"),
        entry("0.50", "DBIT", family="CHRG"),
    ),
    "cmb": day(page(FIRST, (2, "90.50"), (0, "0.00"))),
}


@pytest.mark.parametrize("provider", GOOD)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_change_of_a_statement_breaks_the_reader(provider: str, data: st.DataObject) -> None:
    content = bytearray(GOOD[provider])
    assert bills.parse(provider, bytes(content)).lines
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    with contextlib.suppress(BillRejected):
        bills.parse(provider, bytes(content))
