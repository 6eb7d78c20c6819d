"""A day's bills: asked for by type, offered at an address that is good for half a minute, then fetched."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from starlette.responses import PlainTextResponse, Response

from services.sandbox import bills as common
from services.sandbox import records
from services.sandbox.alipay import bills, merchants
from services.sandbox.alipay.bills import Movement
from services.sandbox.alipay.funds import Funds
from services.sandbox.alipay.wire import Call, Json, failed
from services.sandbox.book import Book
from services.sandbox.clock import BusinessClock, parse_day
from services.sandbox.faults import FaultBoard
from services.sandbox.records import Account, Order, Payout, Refund

DOWNLOAD_PATH = "/downloadBillFile.resource"
ADDRESS_LIFE_S = 30.0
BILL_TYPES = ("trade", "signcustomer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    account_id: str
    day: date
    content: bytes
    expires_s: float


class Statements:
    """Makes bills from the book, and keeps the offered ones for half a minute."""

    def __init__(
        self, *, book: Book, clock: BusinessClock, faults: FaultBoard, funds: Funds, ready_hour: int
    ) -> None:
        self._book = book
        self._clock = clock
        self._faults = faults
        self._funds = funds
        self._ready_hour = ready_hour
        self._offers: dict[str, _Offer] = {}

    def offer(self, call: Call, base_url: str) -> Json:
        """Answer `alipay.data.dataservice.bill.downloadurl.query`."""
        kind = call.text("bill_type")
        if kind not in BILL_TYPES:
            raise failed("INVAILID_ARGUMENTS", "入参不合法")
        try:
            day = parse_day(call.text("bill_date"))
        except ValueError as error:
            raise failed("INVAILID_ARGUMENTS", "入参不合法") from error
        age_days = (self._clock.now().date() - day).days
        if age_days < 1:
            raise failed("INVAILID_ARGUMENTS", "入参不合法")
        is_made = age_days > 1 or self._clock.now().hour >= self._ready_hour
        content = self._content(call.account, kind, day) if is_made else b""
        if not content:
            # Not yet, and never: Alipay has one word for both.
            raise failed("BILL_NOT_EXIST", "账单不存在")
        token = secrets.token_urlsafe(24)
        self._forget_expired()
        self._offers[token] = _Offer(
            account_id=call.account.account_id,
            day=day,
            content=content,
            expires_s=time.monotonic() + ADDRESS_LIFE_S,
        )
        return {"bill_download_url": f"{base_url}{DOWNLOAD_PATH}?fileId={token}"}

    def download(self, token: str) -> Response:
        """Answer the address: the zip alone, with no signature."""
        self._forget_expired()
        offer = self._offers.get(token)
        if offer is None:
            return PlainTextResponse("expired", 403)
        content, day = offer.content, offer.day.isoformat()
        if self._faults.take(offer.account_id, "bill_truncated", "bill", "", day):
            content = common.truncated(content)
        return Response(content, media_type="application/zip")

    def _content(self, account: Account, kind: str, day: date) -> bytes:
        now, seller_id = self._clock.now(), merchants.terms(account).seller_id
        if kind == "signcustomer":
            moved = [line for line in self._movements(account) if line.moment.date() == day]
            return bills.fund(seller_id, day, moved, now) if moved else b""
        lines: list[Order | Refund] = [
            *self._book.paid_on(account.account_id, day),
            *(
                refund
                for refund in self._book.refunds_of(account.account_id, day, by="finished_at")
                if refund.status == records.SUCCEEDED
            ),
        ]
        if not lines:
            return b""
        alterations = self._faults.bill_alterations(
            account.account_id, day, [line.out_ref for line in lines]
        )
        altered = [
            line for line in common.altered(lines, alterations) if isinstance(line, Order | Refund)
        ]
        orders = {order.out_ref: order for order in self._orders(account)}
        return bills.trade(seller_id, day, altered, orders, now)

    def _movements(self, account: Account) -> Sequence[Movement]:
        """Every change of the balance since the account was opened, with what it left."""
        orders = self._orders(account)
        found = [line for order in orders if order.paid_at for line in _of_payment(order)]
        by_ref = {order.out_ref: order for order in orders}
        for refund in self._book.select(
            Refund, "WHERE account_id = ? AND status <> 'FAILED'", account.account_id
        ):
            found += _of_refund(refund, by_ref[refund.order_ref])
        for payout in self._book.select(
            Payout, "WHERE account_id = ? AND status <> 'FAILED'", account.account_id
        ):
            found += _of_payout(payout)
        for settle_no, order_ref, amount, when in self._funds.splits_of(account):
            moment = datetime.fromisoformat(when)
            found.append(
                _movement(settle_no, order_ref, "", moment=moment, amount=-amount, kind="交易分账")
            )
        found.sort(key=lambda line: (line.moment, line.number))
        balance, running = account.profile.opening_balance, []
        for line in found:
            balance += line.amount
            running.append(replace(line, balance=balance))
        return running

    def _orders(self, account: Account) -> list[Order]:
        return self._book.select(Order, "WHERE account_id = ?", account.account_id)

    def _forget_expired(self) -> None:
        now_s = time.monotonic()
        self._offers = {
            token: offer for token, offer in self._offers.items() if offer.expires_s > now_s
        }


def _of_payment(order: Order) -> list[Movement]:
    moment = order.paid_at or order.created_at
    number, subject = order.provider_ref, order.description
    lines = [
        _movement(
            number, order.out_ref, subject, moment=moment, amount=order.amount, kind="在线支付"
        )
    ]
    if order.fee:
        lines.append(
            _movement(
                number, order.out_ref, "收单服务费", moment=moment, amount=-order.fee, kind="收费"
            )
        )
    return lines


def _of_refund(refund: Refund, order: Order) -> list[Movement]:
    """The merchant's money leaves when the refund is accepted."""
    moment, number = refund.created_at, order.provider_ref
    lines = [
        _movement(
            number,
            order.out_ref,
            order.description,
            moment=moment,
            amount=-refund.amount,
            kind="交易退款",
        )
    ]
    if refund.fee:
        lines.append(
            _movement(
                number, order.out_ref, "收单服务费", moment=moment, amount=refund.fee, kind="退费"
            )
        )
    return lines


def _of_payout(payout: Payout) -> list[Movement]:
    """It leaves when the transfer is accepted; the bill names our number."""
    number, moment = payout.provider_ref, payout.finished_at or payout.created_at
    subject = payout.description
    lines = [
        _movement(
            number, payout.out_ref, subject, moment=moment, amount=-payout.amount, kind="转账"
        )
    ]
    if payout.fee:
        lines.append(
            _movement(
                number, payout.out_ref, "转账服务费", moment=moment, amount=-payout.fee, kind="收费"
            )
        )
    if payout.returned_at is not None:
        moment = payout.returned_at
        lines.append(
            _movement(
                number,
                payout.out_ref,
                subject,
                moment=moment,
                amount=payout.amount,
                kind="转账退回",
            )
        )
    return lines


def _movement(
    number: str, out_ref: str, subject: str, *, moment: datetime, amount: int, kind: str
) -> Movement:
    suffix = {"收费": "1", "退费": "1", "转账退回": "2"}.get(kind, "0")
    return Movement(
        number=f"{number}{suffix}{moment:%H%M%S}",
        business_number=number,
        out_ref=out_ref,
        subject=subject,
        moment=moment,
        counterparty="",
        amount=amount,
        kind=kind,
        balance=0,
    )
