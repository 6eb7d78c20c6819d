"""The port through which the gateway speaks to payment channels, in the gateway's own words.

A connector translates one provider's wire protocol into these types. What a channel says is always
an `Outcome`, never an exception: a lost answer is an answer too, namely UNKNOWN.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import ClassVar, Literal, Protocol

from libs.errors import ErrorKind, FiscError
from services.gateway.domain.next_action import NextAction


class OutcomeKind(enum.Enum):
    """What is known about one order at a channel after asking it."""

    SUCCEEDED = "SUCCEEDED"
    PENDING = "PENDING"
    """Accepted, not final: the payer must act, or the channel is still working on it."""
    AUTHORIZED = "AUTHORIZED"
    """The payer's money is reserved for us, none has moved: captures take it, a close releases what they left."""
    DECLINED_SOFT = "DECLINED_SOFT"
    """Nothing moved; a charge may go to another channel, a refund be sent again when funded."""
    DECLINED_HARD = "DECLINED_HARD"
    """Nothing moved, and no other channel would do better."""
    UNKNOWN = "UNKNOWN"
    """Money may have moved: only a query, a close or the same number again is allowed."""
    CLOSED = "CLOSED"
    """Definitely not charged, and never will be under this number."""
    RETURNED = "RETURNED"
    """A payout that had succeeded came back: the payee's bank would not credit it (退票)."""
    NOT_FOUND = "NOT_FOUND"
    """The channel does not know this number, or does not know it yet."""


CHANNEL_UNREACHABLE = "CHANNEL_UNREACHABLE"
"""Code of a charge that certainly never left us: the connection was not even made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A channel's word on one order.

    `amount_minor` and `currency` are what the channel says it moved (None, "" where it did not
    say): the caller compares them with its own row before it believes a success.
    `code` and `message` are the channel's own, for people and for statistics. `next_action` is what the
    payer (or payee) has to do while it is PENDING; None where this answer does not say.
    """

    kind: OutcomeKind
    provider_ref: str = ""
    code: str = ""
    message: str = ""
    paid_at: datetime | None = None
    amount_minor: int | None = None
    currency: str = ""
    next_action: NextAction | None = None
    fee_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentOrder:
    """An order that was sent before, by all that a channel may want to know it by again.

    `sent_at` is the same whenever it is sent or asked for. `provider_ref` is "" while the channel has not
    told it. `payment` is what a capture or refund is of.
    """

    out_ref: str
    method: str
    amount_minor: int
    currency: str
    sent_at: datetime
    provider_ref: str = ""
    payment: "SentOrder | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeOrder:
    """Ask a channel for money. `out_ref` is our number and makes the call idempotent.

    What the method does not need (`services.gateway.domain.method`) may be empty.
    """

    out_ref: str
    amount_minor: int
    currency: str
    method: str
    description: str
    notify_url: str
    expires_at: datetime
    sent_at: datetime
    return_url: str = ""
    payer_token: str = ""
    auth_code: str = field(default="", repr=False)
    """What the payer's wallet shows: as good as money while it lasts."""
    wallet_user_id: str = ""
    payer_ip: str = ""
    bank_code: str = ""
    payer_account_id: str = ""
    capture_later: bool = False
    """Only reserve the money (预授权); it is taken by captures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOrder:
    """Take all or part of what `payment` has reserved. `out_ref` is the capture's own number."""

    out_ref: str
    payment: SentOrder
    amount_minor: int
    currency: str
    is_final: bool
    """True releases what this and earlier captures leave."""
    notify_url: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOrder:
    """Give back all or part of `payment`, which was paid. `out_ref` is the refund's own number."""

    out_ref: str
    payment: SentOrder
    amount_minor: int
    currency: str
    reason: str
    notify_url: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutOrder:
    """Send money from our balance at the channel to a payee: to a bank account, or as `method` says to a wallet."""

    out_ref: str
    method: str
    amount_minor: int
    currency: str
    payee_account: str
    payee_name: str
    payee_bank_code: str
    description: str
    notify_url: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A verified and decoded notification. `event_id` is the channel's; repeats carry the same.

    A "notice" is genuine and about none of our orders' ends, such as a dispute: it is kept and acknowledged, no more.
    """

    event_id: str
    kind: Literal["payment", "capture", "refund", "payout", "notice"]
    out_ref: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAck:
    """The HTTP answer that a channel expects to its notification."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BillFile:
    """One day's bill, decompressed, its hash already checked. `empty`: a day without business."""

    content: bytes
    hash_type: str
    hash_value: str
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What the channel says we may pay out right now."""

    currency: str
    available_minor: int


class CallbackRejected(FiscError):
    """The notification is not accepted; its message and field say which check failed."""

    kind: ClassVar[ErrorKind] = ErrorKind.INVALID
    reason: ClassVar[str] = "CALLBACK_REJECTED"


class CallbackSignatureInvalid(CallbackRejected):
    """The notification's signature does not prove that the channel sent it."""

    reason: ClassVar[str] = "CALLBACK_SIGNATURE_INVALID"


class CallbackMalformed(CallbackRejected):
    """The notification is signed by the channel but cannot be understood."""

    reason: ClassVar[str] = "CALLBACK_MALFORMED"


class BillNotReady(FiscError):
    """The channel has not finished this day's bill yet."""

    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE
    reason: ClassVar[str] = "BILL_NOT_READY"


class BillHashMismatch(FiscError):
    """The bill that arrived is not the one the channel announced."""

    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE
    reason: ClassVar[str] = "BILL_HASH_MISMATCH"


class ChannelUnavailable(FiscError):
    """The channel gave no answer that can be trusted to a question about bills or balances."""

    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE
    reason: ClassVar[str] = "CHANNEL_UNAVAILABLE"


class ChannelUnsupported(FiscError):
    """This channel does not offer this operation."""

    kind: ClassVar[ErrorKind] = ErrorKind.REJECTED
    reason: ClassVar[str] = "CHANNEL_OPERATION_UNSUPPORTED"


class ChannelMisconfigured(FiscError):
    """The channel's provider, address or credentials cannot be used."""

    kind: ClassVar[ErrorKind] = ErrorKind.INVALID
    reason: ClassVar[str] = "CHANNEL_MISCONFIGURED"


class Connector(Protocol):
    """One merchant account at one channel.

    The order methods never raise for anything that happens outside: a network error, a time-out, a
    5xx, an answer that cannot be decoded or whose signature is wrong is an UNKNOWN outcome. They
    raise only ChannelUnsupported, before anything is sent. None of them retries.
    """

    async def charge(self, order: ChargeOrder) -> Outcome:
        """Create the charge. Idempotent by `out_ref` at the channel. Raises ChannelUnsupported.

        DECLINED_SOFT speaks of this call only. So whoever sends a number again after an UNKNOWN
        must not read a soft decline of the second call as the fate of the first.
        """
        ...

    async def query(self, order: SentOrder) -> Outcome:
        """Ask for the charge's state. Changes nothing."""
        ...

    async def close(self, order: SentOrder) -> Outcome:
        """Make sure that nothing (more) can be taken: CLOSED, or SUCCEEDED if it was paid or captured before.

        What an authorised charge has left uncaptured is released.
        """
        ...

    async def capture(self, order: CaptureOrder) -> Outcome:
        """Take reserved money. Idempotent by `out_ref`: after UNKNOWN send the same number. Raises ChannelUnsupported."""
        ...

    async def query_capture(self, order: SentOrder) -> Outcome:
        """Ask for the capture's state. Changes nothing. Raises ChannelUnsupported."""
        ...

    async def refund(self, order: RefundOrder) -> Outcome:
        """Create the refund. Idempotent by `out_ref`: after UNKNOWN send the same number."""
        ...

    async def query_refund(self, order: SentOrder) -> Outcome:
        """Ask for the refund's state. Changes nothing."""
        ...

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Create the payout. Idempotent by `out_ref`. Raises ChannelUnsupported."""
        ...

    async def query_payout(self, order: SentOrder) -> Outcome:
        """Ask for the payout's state. Raises ChannelUnsupported."""
        ...

    def parse_callback(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Callback:
        """Verify, then decode. Raises CallbackSignatureInvalid or CallbackMalformed."""
        ...

    def acknowledge(self, *, ok: bool, message: str = "") -> CallbackAck:
        """Build the answer to a notification; not ok makes the channel deliver it again."""
        ...

    async def fetch_bill(self, business_date: date) -> BillFile:
        """Download the day's bill. Raises BillNotReady, BillHashMismatch, ChannelUnavailable."""
        ...

    async def balance(self) -> Balance:
        """Ask what may be paid out. Raises ChannelUnsupported, ChannelUnavailable."""
        ...
