"""pain.001 in the versions that banks read."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from libs import markup
from libs.markup import Element
from services.gateway.channels.iso20022 import messages, settings
from services.gateway.channels.iso20022.settings import Settings, is_iban
from services.gateway.domain.channel import ChannelMisconfigured, PayoutOrder

# Already the twelfth in Berlin.
NOW = datetime(2026, 11, 11, 23, 30, tzinfo=UTC)
MakeSettings = Callable[..., Settings]
MakeOrder = Callable[..., PayoutOrder]


def read(content: bytes) -> Element:
    found = markup.parse(content).find("CstmrCdtTrfInitn")
    assert found is not None
    return found


def test_count_and_control_sum_stand_in_both_places(
    make_settings: MakeSettings, make_order: MakeOrder
) -> None:
    orders = [make_order("p01"), make_order("p02", amount_minor=1)]
    root = read(messages.payments("M1", orders, make_settings(), NOW))
    for place in (("GrpHdr",), ("PmtInf",)):
        assert root.value(*place, "NbOfTxs") == "2"
        assert root.value(*place, "CtrlSum") == "1234.57"
    sent = [each.value("PmtId", "EndToEndId") for each in root.all("PmtInf", "CdtTrfTxInf")]
    assert sent == ["p01", "p02"]


def test_versions_differ_in_the_day_and_in_the_name_of_a_bank(
    make_settings: MakeSettings, make_order: MakeOrder
) -> None:
    old = messages.payments("M1", [make_order()], make_settings(payment_version="03"), NOW)
    new = messages.payments("M1", [make_order()], make_settings(payment_version="09"), NOW)
    assert markup.parse(old).namespace.endswith("pain.001.001.03")
    assert markup.parse(new).namespace.endswith("pain.001.001.09")
    assert read(old).value("PmtInf", "ReqdExctnDt") == "2026-11-12"
    assert read(new).value("PmtInf", "ReqdExctnDt", "Dt") == "2026-11-12"
    agent = ("PmtInf", "DbtrAgt", "FinInstnId")
    assert (read(old).value(*agent, "BIC"), read(old).value(*agent, "BICFI")) == ("BYLADEM1001", "")
    assert (read(new).value(*agent, "BICFI"), read(new).value(*agent, "BIC")) == ("BYLADEM1001", "")


def test_accounts_and_banks_are_named_as_what_they_are(
    make_settings: MakeSettings, make_order: MakeOrder
) -> None:
    order = make_order(payee_account="6222000000000000", payee_bank_code="102100099996")
    made = make_settings(debtor_account="7559", clearing_system="CNAPS")
    transfer = read(messages.payments("M1", [order], made, NOW)).find("PmtInf", "CdtTrfTxInf")
    assert transfer is not None
    assert transfer.value("CdtrAcct", "Id", "Othr", "Id") == "6222000000000000"
    member = ("CdtrAgt", "FinInstnId", "ClrSysMmbId")
    assert transfer.value(*member, "MmbId") == "102100099996"
    assert transfer.value(*member, "ClrSysId", "Cd") == "CNAPS"
    assert transfer.value("Cdtr", "Nm") == "A <B> & C"
    other = read(messages.payments("M1", [make_order()], made, NOW)).find("PmtInf", "CdtTrfTxInf")
    assert other is not None
    assert other.value("CdtrAcct", "Id", "IBAN") == "GB33BUKB20201555555555"
    assert other.find("CdtrAgt") is None


def test_a_yen_has_no_decimals(make_settings: MakeSettings, make_order: MakeOrder) -> None:
    order = make_order(amount_minor=1200, currency="JPY")
    root = read(messages.payments("M1", [order], make_settings(currency="JPY"), NOW))
    assert root.value("PmtInf", "CdtTrfTxInf", "Amt", "InstdAmt") == "1200"


def test_the_same_payouts_make_the_same_number(make_order: MakeOrder) -> None:
    first, second = make_order("p01"), make_order("p02")
    assert messages.message_id([first]) == "p01"
    number = messages.message_id([first, second])
    assert number == messages.message_id([second, first]) != messages.message_id([first, first])
    assert len(number) <= messages.REFERENCE_LENGTH_MAX


@pytest.mark.parametrize("account", ["GB33BUKB20201555555555", "DE02120300000000202051"])
def test_an_iban_is_one_by_its_check_digits(account: str) -> None:
    assert is_iban(account)
    assert not is_iban(account[:-1] + "9")
    assert not is_iban(account.lower())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("currency", "XXX"),
        ("payment_version", "11"),
        ("charge_bearer", "SH"),
        ("debtor_agent_bic", "short"),
        ("debtor_agent_bic", ""),
        ("debtor_name", ""),
        ("zone", "Mars/Olympus"),
        ("zone", "../../etc/passwd"),
        ("batch_count_max", "0"),
        ("batch_window_ms", "3600001"),
        ("batch_booking", "yes"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    values: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(ChannelMisconfigured):
        settings.load(values | {name: value}, window_max_ms=settings.FILE_WINDOW_MAX_MS)
