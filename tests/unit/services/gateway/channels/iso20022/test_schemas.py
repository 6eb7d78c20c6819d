"""What we send is valid by the standard's own schemas."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from services.gateway.channels.iso20022 import messages
from services.gateway.channels.iso20022.settings import Settings
from services.gateway.domain.channel import PayoutOrder
from tests import iso20022_schema

NOW = datetime(2026, 11, 11, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("version", ["03", "09"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"debtor_agent_bic": "", "debtor_agent_member": "102100099996", "clearing_system": "CNAPS"},
        {"debtor_account": "755915711310210", "batch_booking": "true", "charge_bearer": "SHAR"},
    ],
)
def test_payments_are_valid(
    make_settings: Callable[..., Settings],
    make_order: Callable[..., PayoutOrder],
    version: str,
    changes: dict[str, str],
) -> None:
    orders = [
        make_order("p01"),
        make_order("p02", payee_account="6222000000000000", payee_bank_code="102100099996"),
        make_order("p03", payee_bank_code="BUKBGB22", description="", payee_name="x" * 200),
    ]
    content = messages.payments(
        "M1", orders, make_settings(payment_version=version, **changes), NOW
    )
    assert iso20022_schema.problems(content) == []


def test_the_check_sees_what_is_wrong(
    make_settings: Callable[..., Settings], make_order: Callable[..., PayoutOrder]
) -> None:
    content = messages.payments("M1", [make_order("p01")], make_settings(), NOW)
    for old, new in (
        (b"<MsgId>M1</MsgId>", b""),
        (b"<MsgId>M1</MsgId>", b"<MsgId>" + b"x" * 36 + b"</MsgId>"),
        (b"<PmtMtd>TRF</PmtMtd>", b"<PmtMtd>XYZ</PmtMtd>"),
        (b"1234.56", b"1234.567890"),
        (b"<Dt>2026-11-11</Dt>", b"<Dt>11.11.2026</Dt>"),
        (
            b"<NbOfTxs>1</NbOfTxs><CtrlSum>1234.56</CtrlSum>",
            b"<CtrlSum>1234.56</CtrlSum><NbOfTxs>1</NbOfTxs>",
        ),
        (b"<Ccy>EUR</Ccy>", b"<Ccy>EUR</Ccy><Odd>1</Odd>"),
    ):
        assert old in content
        assert iso20022_schema.problems(content.replace(old, new)) != []
