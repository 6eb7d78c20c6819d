"""WeChat Pay's trade bill: announced with a hash and an address, then downloaded from there."""

import gzip
import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import date, timedelta

from starlette.responses import Response

from services.sandbox import bills
from services.sandbox.book import Book
from services.sandbox.clock import BusinessClock, parse_day
from services.sandbox.faults import FaultBoard
from services.sandbox.gate import Failing
from services.sandbox.records import Account, Order
from services.sandbox.validation import bad_param
from services.sandbox.wechat.auth import PREFIX, Call
from services.sandbox.wechat.bills import trade_bill

DOWNLOAD_PATH = "/v3/billdownload/file"
TOKEN_LIFE_S = 300.0
HISTORY_DAYS = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    account_id: str
    day: date
    content: bytes
    compressed: bool
    expires_s: float


class TradeBills:
    """Makes bills from the book, and keeps the announced ones for five minutes."""

    def __init__(
        self,
        *,
        book: Book,
        clock: BusinessClock,
        faults: FaultBoard,
        ready_hour: int,
        byte_order_mark: bool,
    ) -> None:
        self._book = book
        self._clock = clock
        self._faults = faults
        self._ready_hour = ready_hour
        self._byte_order_mark = byte_order_mark
        self._offers: dict[str, _Offer] = {}

    def announce(self, call: Call) -> dict[str, str]:
        """Answer `GET /v3/bill/tradebill`. The hash is that of the uncompressed file."""
        query = call.request.query_params
        day = self._day(query.get("bill_date", ""))
        if query.get("bill_type", "ALL") != "ALL":
            raise bad_param("bill_type", "only ALL is played here", location="query")
        if query.get("tar_type", "GZIP") != "GZIP":
            raise bad_param("tar_type", "must be GZIP or left out", location="query")
        content = self._content(call.account, day)
        token = secrets.token_urlsafe(32)
        self._forget_expired()
        self._offers[token] = _Offer(
            account_id=call.account.account_id,
            day=day,
            content=content,
            compressed="tar_type" in query,
            expires_s=time.monotonic() + TOKEN_LIFE_S,
        )
        base = f"{call.request.url.scheme}://{call.request.url.netloc}{PREFIX}"
        return {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "download_url": f"{base}{DOWNLOAD_PATH}?token={token}",
        }

    def download(self, call: Call) -> Response:
        """Answer the download address: the file alone, with no signature."""
        self._forget_expired()
        offer = self._offers.get(call.request.query_params.get("token", ""))
        if offer is None or offer.account_id != call.account.account_id:
            raise Failing(403, "NO_AUTH", "the download address is unknown or has expired")
        content = offer.content
        day = offer.day.isoformat()
        if self._faults.take(offer.account_id, "bill_truncated", "bill", "", day):
            content = bills.truncated(content)
        if offer.compressed:
            return Response(gzip.compress(content), media_type="application/octet-stream")
        return Response(content, media_type="text/plain")

    def _day(self, text: str) -> date:
        try:
            day = parse_day(text)
        except ValueError as error:
            raise bad_param("bill_date", "must be YYYY-MM-DD", location="query") from error
        now = self._clock.now()
        age_days = (now.date() - day).days
        if age_days > HISTORY_DAYS:
            raise bad_param("bill_date", "is more than three months ago", location="query")
        if age_days < 1 or (age_days == 1 and now.hour < self._ready_hour):
            ready = day + timedelta(days=1)
            message = f"the bill is made on {ready} from {self._ready_hour}:00, Beijing time"
            raise Failing(400, "STATEMENT_CREATING", message)
        return day

    def _content(self, account: Account, day: date) -> bytes:
        lines: list[bills.Line] = [
            *self._book.paid_on(account.account_id, day),
            *self._book.refunds_of(account.account_id, day, by="created_at"),
        ]
        if not lines:
            raise Failing(400, "NO_STATEMENT_EXIST", "there was no trade on that day")
        alterations = self._faults.bill_alterations(
            account.account_id, day, [line.out_ref for line in lines]
        )
        orders = {
            order.out_ref: order
            for order in self._book.select(
                Order,
                "WHERE account_id = ?1 AND out_ref IN (SELECT order_ref FROM refund"
                " WHERE account_id = ?1 AND substr(created_at, 1, 10) = ?2)",
                account.account_id,
                day.isoformat(),
            )
        }
        return trade_bill(
            account,
            day,
            bills.altered(lines, alterations),
            orders,
            byte_order_mark=self._byte_order_mark,
        )

    def _forget_expired(self) -> None:
        now_s = time.monotonic()
        self._offers = {
            token: offer for token, offer in self._offers.items() if offer.expires_s > now_s
        }
