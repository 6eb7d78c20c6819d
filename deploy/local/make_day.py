"""Makes the day file that ships: `python -m deploy.local.make_day > deploy/local/data/day-2026-11-11.csv`.

Double Eleven of four merchants, the same every time. No customer, payee or order of it exists.
"""

import csv
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TextIO
from zoneinfo import ZoneInfo

from deploy.local.dayfile import COLUMNS
from libs.money import Money

SEED: Final = 20261111
START: Final = datetime(2026, 11, 11, tzinfo=ZoneInfo("Asia/Shanghai"))
PAYMENTS: Final = 2_080
# Share of a day's payments by hour: the rush after midnight, lunch, and the second rush at 20:00.
HOUR_WEIGHTS: Final = (
    24, 10, 4, 2, 1, 1, 2, 3, 5, 7, 8, 7, 8, 7, 6, 6, 6, 6, 7, 9, 22, 14, 10, 6,
)  # fmt: skip
LAST_SECOND: Final = 23 * 3600 + 54 * 60
REFUND_SHARE: Final = 0.066
PARTIAL_SHARE: Final = 0.4
PAYOUTS_PER_MERCHANT: Final = 12
HINT_SHARE: Final = 0.18
ENDINGS: Final = (0, 0, 90, 99, 99)

METHODS: Final = ("WECHAT_QR", "ALIPAY_QR", "UNIONPAY_QR", "CARD", "ONLINE_BANKING")
HINTS: Final = {
    "WECHAT_QR": ("wechat-main", "wechat-alt"),
    "ALIPAY_QR": ("alipay-a", "alipay-b"),
    "UNIONPAY_QR": ("unionpay-a", "unionpay-b"),
    "CARD": ("card-a", "card-b", "card-c"),
    "ONLINE_BANKING": ("netbank-a", "netbank-b"),
}
COUNTRIES: Final = ("CN",) * 40 + ("HK", "HK", "MO", "SG", "MY", "JP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """How a merchant's customers buy: log-normal amounts (of e, in yuan) within bounds."""

    merchant: str
    share: int
    mu: float
    sigma: float
    yuan_max: int
    methods: Sequence[int]
    goods: Sequence[str]


SHOPS: Final = (
    Shop(
        merchant="shop", share=45, mu=4.9, sigma=0.9, yuan_max=9_000, methods=(38, 34, 8, 14, 6),
        goods=("winter coat", "running shoes", "rice cooker", "bed linen", "vacuum cleaner"),
    ),
    Shop(
        merchant="market", share=30, mu=3.9, sigma=0.7, yuan_max=1_200, methods=(46, 38, 10, 5, 1),
        goods=("groceries", "fruit box", "milk, 12 cartons", "tea", "frozen dumplings"),
    ),
    Shop(
        merchant="digital", share=15, mu=3.5, sigma=0.8, yuan_max=2_000, methods=(34, 34, 6, 24, 2),
        goods=("game credits", "music, one year", "cloud storage", "e-book", "course"),
    ),
    Shop(
        merchant="travel", share=10, mu=7.0, sigma=0.7, yuan_max=30_000, methods=(16, 18, 6, 42, 18),
        goods=("flight", "hotel, two nights", "train tickets", "package tour", "car hire"),
    ),
)  # fmt: skip

Cells = dict[str, str]


def make(rng: random.Random) -> list[Cells]:
    """All rows of the day in time order, `ref` numbered within each kind."""
    payments = [_payment(rng) for _ in range(PAYMENTS)]
    rows = [*payments, *_special_payments()]
    rows.sort(key=lambda cells: cells["time"])
    for number, cells in enumerate(rows, 1):
        cells["ref"] = f"P{number:05d}"
    rows += _refunds(rng, [cells for cells in rows if cells["customer"] not in SPECIAL_CUSTOMERS])
    rows += _payouts(rng)
    rows.sort(key=lambda cells: (cells["time"], cells["ref"]))
    return rows


def write(rows: Sequence[Cells], out: TextIO) -> None:
    """Write the rows as docs/replay.md describes them."""
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _payment(rng: random.Random) -> Cells:
    (shop,) = rng.choices(SHOPS, [each.share for each in SHOPS])
    (method,) = rng.choices(METHODS, shop.methods)
    hint = rng.choice(HINTS[method]) if rng.random() < HINT_SHARE else ""
    return {
        "time": _moment(rng),
        "kind": "payment",
        "merchant": shop.merchant,
        "amount": _price(rng, shop),
        "currency": "CNY",
        "method": method,
        "channel_hint": hint,
        "customer": f"{shop.merchant}-c{rng.randint(1, 600):04d}",
        "country": rng.choice(COUNTRIES),
        "description": rng.choice(shop.goods),
    }


def _moment(rng: random.Random) -> str:
    (hour,) = rng.choices(range(24), HOUR_WEIGHTS)
    # A rush begins at once and fades, so its hours lean to their beginnings.
    fraction = rng.random() ** (2 if hour in (0, 20) else 1)
    return _at(min(hour * 3600 + int(fraction * 3600), LAST_SECOND))


def _at(second: int) -> str:
    return (START + timedelta(seconds=second)).isoformat()


def _price(rng: random.Random, shop: Shop) -> str:
    yuan = min(max(1, int(rng.lognormvariate(shop.mu, shop.sigma))), shop.yuan_max)
    return _text(yuan * 100 + rng.choice(ENDINGS))


def _text(amount_minor: int) -> str:
    return Money("CNY", amount_minor).format()


SPECIAL_CUSTOMERS: Final = ("digital-blocked", "travel-group", "market-reseller", "travel-agency")


def _special_payments() -> Iterator[Cells]:
    """What risk is there for: a blocked customer, orders to review, a burst, a day's limit."""

    def cells(second: int, merchant: str, amount: str, method: str, customer: str) -> Cells:
        return {
            "time": _at(second),
            "kind": "payment",
            "merchant": merchant,
            "amount": amount,
            "currency": "CNY",
            "method": method,
            "customer": customer,
            "country": "CN",
            "description": "order",
        }

    for number in range(3):
        yield cells(7200 + 600 * number, "digital", "648.00", "CARD", "digital-blocked")
    for second, amount in ((36_000, "68800.00"), (55_800, "52999.00")):
        yield cells(second, "travel", amount, "ONLINE_BANKING", "travel-group")
    for number in range(36):
        yield cells(53_000 + 7 * number, "market", "49.90", "WECHAT_QR", "market-reseller")
    for number in range(7):
        yield cells(61_200 + 420 * number, "travel", "49900.00", "ONLINE_BANKING", "travel-agency")


def _refunds(rng: random.Random, payments: Sequence[Cells]) -> Iterator[Cells]:
    refunded = rng.sample(payments, round(len(payments) * REFUND_SHARE))
    refunded.sort(key=lambda cells: cells["ref"])
    for number, payment in enumerate(refunded, 1):
        paid = datetime.fromisoformat(payment["time"])
        wait_s = rng.randint(600, 6 * 3600)
        second = int((paid - START).total_seconds()) + wait_s
        paid_minor = Money.parse(payment["amount"], "CNY").amount_minor
        is_partial = rng.random() < PARTIAL_SHARE and paid_minor > 1_000  # noqa: PLR2004 10 yuan
        amount_minor = paid_minor * rng.randint(2, 8) // 10 if is_partial else paid_minor
        yield {
            "time": _at(min(second, LAST_SECOND + 30)),
            "kind": "refund",
            "ref": f"R{number:04d}",
            "merchant": payment["merchant"],
            "amount": _text(amount_minor),
            "currency": "CNY",
            "customer": payment["customer"],
            "refund_of": payment["ref"],
            "description": "returned in part" if is_partial else "returned",
        }


def _payouts(rng: random.Random) -> Iterator[Cells]:
    number = 0
    for shop in SHOPS:
        for _ in range(PAYOUTS_PER_MERCHANT):
            number += 1
            payee = rng.randint(1, 40)
            yield {
                "time": _at(rng.randint(9 * 3600, 17 * 3600)),
                "kind": "payout",
                "ref": f"O{number:04d}",
                "merchant": shop.merchant,
                "amount": _text(rng.randint(200, 20_000) * 100),
                "currency": "CNY",
                "method": "BANK_TRANSFER",
                "payee_account": f"110922000{payee:06d}",
                "payee_name": f"Supplier {payee:02d}",
                "description": "invoice",
            }


if __name__ == "__main__":
    write(make(random.Random(SEED)), sys.stdout)  # noqa: S311 the same day every time is the point
