"""pain.001: payouts as credit transfers, one or many in a message, in the version that the bank reads."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from libs import markup
from libs.markup import Element, node
from libs.money import Money
from services.gateway.channels.iso20022.settings import NAME_LENGTH_MAX, Settings, is_bic, is_iban
from services.gateway.domain.channel import PayoutOrder

# Max35Text of the standard: message, payment and end-to-end references.
REFERENCE_LENGTH_MAX: Final = 35
REMITTANCE_LENGTH_MAX: Final = 140
_NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001."
_DATE_IS_A_CHOICE_SINCE: Final = 8
_BICFI_SINCE: Final = 4
_PLAIN: Final = re.compile(r"[0-9A-Za-z]{1,35}", re.ASCII)


def message_id(orders: Sequence[PayoutOrder]) -> str:
    """The same payouts make the same number, plain enough for a file's name: that of a single one is its own."""
    if len(orders) == 1 and _PLAIN.fullmatch(orders[0].out_ref):
        return orders[0].out_ref
    references = "\n".join(sorted(order.out_ref for order in orders))
    return f"B{hashlib.sha256(references.encode()).hexdigest()[:32].upper()}"


def payments(
    message: str, orders: Sequence[PayoutOrder], settings: Settings, now: datetime
) -> bytes:
    """The message, of payouts in the account's own currency."""
    count, total = str(len(orders)), _amount(sum(order.amount_minor for order in orders), settings)
    local = now.astimezone(settings.zone)
    header = node(
        "GrpHdr",
        node("MsgId", message),
        node("CreDtTm", local.isoformat(timespec="seconds")),
        node("NbOfTxs", count),
        node("CtrlSum", total),
        node("InitgPty", node("Nm", settings.initiating_party)),
    )
    day = local.date().isoformat()
    is_choice = int(settings.payment_version) >= _DATE_IS_A_CHOICE_SINCE
    information = node(
        "PmtInf",
        node("PmtInfId", message),
        node("PmtMtd", "TRF"),
        node("BtchBookg", "true" if settings.is_batch_booked else "false"),
        node("NbOfTxs", count),
        node("CtrlSum", total),
        node("ReqdExctnDt", node("Dt", day) if is_choice else day),
        node("Dbtr", node("Nm", settings.debtor_name)),
        node("DbtrAcct", _account(settings.debtor_account), node("Ccy", settings.currency)),
        node("DbtrAgt", _debtor_agent(settings)),
        node("ChrgBr", settings.charge_bearer),
        *(_transfer(order, settings) for order in orders),
    )
    document = node("Document", node("CstmrCdtTrfInitn", header, information))
    return markup.write(document, namespace=_NAMESPACE + settings.payment_version)


def _transfer(order: PayoutOrder, settings: Settings) -> Element:
    amount = _amount(order.amount_minor, settings)
    return node(
        "CdtTrfTxInf",
        node("PmtId", node("InstrId", order.out_ref), node("EndToEndId", order.out_ref)),
        node("Amt", node("InstdAmt", amount, Ccy=order.currency)),
        node("CdtrAgt", _agent(order.payee_bank_code, settings)) if order.payee_bank_code else None,
        node("Cdtr", node("Nm", order.payee_name[:NAME_LENGTH_MAX])),
        node("CdtrAcct", _account(order.payee_account)),
        node("RmtInf", node("Ustrd", order.description[:REMITTANCE_LENGTH_MAX]))
        if order.description
        else None,
    )


def _account(number: str) -> Element:
    compact = number.replace(" ", "")
    if is_iban(compact):
        return node("Id", node("IBAN", compact))
    return node("Id", node("Othr", node("Id", number)))


def _debtor_agent(settings: Settings) -> Element:
    if settings.debtor_agent_bic:
        return _agent(settings.debtor_agent_bic, settings)
    return _agent(settings.debtor_agent_member, settings)


def _agent(name: str, settings: Settings) -> Element:
    """A bank by its BIC, or by its number in the clearing system."""
    if is_bic(name):
        tag = "BICFI" if int(settings.payment_version) >= _BICFI_SINCE else "BIC"
        return node("FinInstnId", node(tag, name))
    system = settings.clearing_system
    return node(
        "FinInstnId",
        node(
            "ClrSysMmbId",
            node("ClrSysId", node("Cd", system)) if system else None,
            node("MmbId", name),
        ),
    )


def _amount(amount_minor: int, settings: Settings) -> str:
    return Money(settings.currency, amount_minor).format()
