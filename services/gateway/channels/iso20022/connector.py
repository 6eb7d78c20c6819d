"""The ISO 20022 connector: payouts, balance and statements of one account, whichever way its bank exchanges messages."""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from http import HTTPStatus
from typing import Final, Protocol

from libs import camt
from services.gateway.channels.iso20022 import messages
from services.gateway.channels.iso20022.settings import Settings
from services.gateway.domain.channel import (
    Balance,
    BillFile,
    Callback,
    CallbackAck,
    CallbackSignatureInvalid,
    CaptureOrder,
    ChannelUnavailable,
    ChannelUnsupported,
    ChargeOrder,
    Outcome,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)

UNSUPPORTED: Final = "this bank pays out; it does not collect"
# What may be paid out, best word first: available now, available at the close, booked now, booked at the close.
_AVAILABLE: Final = ("ITAV", "CLAV", "ITBD", "CLBD")


class Transport(Protocol):
    """How messages travel."""

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Hand a payout in. Idempotent by its number. Raises nothing for what happens outside."""
        ...

    async def query(self, out_ref: str) -> Outcome:
        """What is known of a payout. Raises nothing for what happens outside."""
        ...

    async def statement(self, day: date) -> bytes:
        """camt.053 of a day. Raises BillNotReady, ChannelUnavailable."""
        ...

    async def latest_report(self) -> bytes:
        """The latest account report with a balance. Raises ChannelUnavailable."""
        ...


class IsoConnector:
    """One account. Implements payouts, balance and bills of `Connector`."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._settings = settings

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Pay out of the account, in its own currency. `out_ref` is the EndToEndId."""
        if order.currency != self._settings.currency:
            raise ChannelUnsupported("not the account's currency", out_ref=order.out_ref)
        if len(order.out_ref) > messages.REFERENCE_LENGTH_MAX:
            raise ChannelUnsupported("the number is too long", out_ref=order.out_ref)
        return await self._transport.payout(order)

    async def query_payout(self, order: SentOrder) -> Outcome:
        """Ask for a payout's state, or for its return."""
        return await self._transport.query(order.out_ref)

    async def balance(self) -> Balance:
        """What the account may pay out."""
        content = await self._transport.latest_report()
        for report in await self._reports(content):
            found = report.balance(*_AVAILABLE)
            if found is not None and found.currency == self._settings.currency:
                return Balance(currency=found.currency, available_minor=max(found.amount_minor, 0))
        raise ChannelUnavailable("the report holds no balance of the account")

    async def fetch_bill(self, business_date: date) -> BillFile:
        """The day's statement, as the bank wrote it."""
        content = await self._transport.statement(business_date)
        found = await self._reports(content)
        if not found:
            raise ChannelUnavailable("the statement is of another account")
        return BillFile(
            content=content,
            hash_type="SHA256",
            hash_value=hashlib.sha256(content).hexdigest(),
            empty=not any(report.entries_count for report in found),
        )

    async def charge(self, order: ChargeOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def query(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def close(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def capture(self, order: CaptureOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def query_capture(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def refund(self, order: RefundOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    async def query_refund(self, order: SentOrder) -> Outcome:
        """Raises ChannelUnsupported."""
        raise ChannelUnsupported(UNSUPPORTED, out_ref=order.out_ref)

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        """The bank calls nobody: whoever does is somebody else. Raises CallbackSignatureInvalid."""
        del headers, body, now
        raise CallbackSignatureInvalid("this bank sends no notifications", field="body")

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        """There is nothing to acknowledge."""
        return CallbackAck(
            status=HTTPStatus.OK if ok else HTTPStatus.BAD_REQUEST,
            content_type="text/plain",
            body=message.encode(),
        )

    async def _reports(self, content: bytes) -> list[camt.Report]:
        """The reports of our account. Raises ChannelUnavailable."""
        try:
            found = await asyncio.to_thread(camt.parse, content, zone=self._settings.zone)
        except camt.ReportInvalid as error:
            raise ChannelUnavailable(str(error)) from error
        return [report for report in found if report.account == self._settings.debtor_account]
