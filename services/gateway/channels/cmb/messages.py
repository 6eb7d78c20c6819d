"""CMB bodies: ours out of orders, theirs into outcomes. Amounts are yuan with two decimals, in text."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from libs.money import AMOUNT_MINOR_MAX
from services.gateway.channels import answers
from services.gateway.channels.answers import Malformed
from services.gateway.channels.cmb import classify
from services.gateway.channels.cmb.classify import CALL_OK
from services.gateway.channels.cmb.envelope import Json, Number
from services.gateway.channels.cmb.settings import Settings
from services.gateway.domain.channel import Balance, BillFile, Outcome, OutcomeKind, PayoutOrder

ZONE: Final = ZoneInfo("Asia/Shanghai")
CURRENCY: Final = "CNY"
CURRENCY_NUMBER: Final = "10"
REFERENCE_LENGTH_MAX: Final = 30
PURPOSE_LENGTH_MAX: Final = 62
NAME_LENGTH_MAX: Final = 62
AMOUNT_TEXT_LENGTH_MAX: Final = 20
MORE: Final = "Y"
# What the bank's own number in the national payment system, and its BIC, begin with.
OWN_BANK_CODES: Final = ("308", "CMBC")
_FEN: Final = 100


def yuan(amount_minor: int) -> str:
    """Minor units as the bank writes them."""
    return f"{amount_minor // _FEN}.{amount_minor % _FEN:02d}"


def fen(fields: Mapping[str, object], name: str) -> int:
    """A required amount, exactly; it may be negative. Raises Malformed."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > AMOUNT_TEXT_LENGTH_MAX:
        raise Malformed(f"{name} is no amount", field=name)
    try:
        scaled = Decimal(value.strip()) * _FEN
        exact = int(scaled)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise Malformed(f"{name} is no amount", field=name) from error
    if exact != scaled or abs(exact) > AMOUNT_MINOR_MAX:
        raise Malformed(f"{name} is no amount in fen", field=name)
    return exact


def request(function: str, user_id: str, request_id: str, body: Json) -> Json:
    """A message before it is signed."""
    head = {"funcode": function, "userid": user_id, "reqid": request_id}
    return {"request": {"head": head, "body": body}}


def payment(order: PayoutOrder, settings: Settings) -> Json:
    """One payment, alone or among others."""
    bank = order.payee_bank_code
    is_own = bank.startswith(OWN_BANK_CODES)
    route: Json = {"brdNbr": bank} if bank and not is_own else {}
    return route | {
        "dbtAcc": settings.account,
        "crtAcc": order.payee_account,
        "crtNam": order.payee_name[:NAME_LENGTH_MAX],
        "ccyNbr": CURRENCY_NUMBER,
        "trsAmt": yuan(order.amount_minor),
        "bnkFlg": "Y" if is_own else "N",
        "stlChn": settings.settlement,
        "nusAge": order.description[:PURPOSE_LENGTH_MAX] or order.out_ref,
        "yurRef": order.out_ref,
    }


def single(order: PayoutOrder, settings: Settings) -> Json:
    """The body of BB1PAYOP."""
    return {"bb1paybmx1": [_business(settings)], "bb1payopx1": [payment(order, settings)]}


def batch(orders: Sequence[PayoutOrder], settings: Settings) -> Json:
    """The body of BB1PAYBH. The same payments make the same batch number."""
    references = "\n".join(sorted(order.out_ref for order in orders))
    number = f"B{hashlib.sha256(references.encode()).hexdigest()[:24].upper()}"
    head = {"bthNbr": number, "dtlNbr": str(len(orders)), "ctnFlg": "N"}
    return {
        "bb1bmdbhx1": [_business(settings) | head],
        "bb1paybhx1": [payment(order, settings) for order in orders],
    }


def query(out_ref: str, settings: Settings) -> Json:
    """The body of BB1PAYQR."""
    return {"bb1payqrx1": [{"busCod": settings.business_code, "yurRef": out_ref}]}


def returns(record: Mapping[str, object], today: date, settings: Settings) -> Json:
    """The body of BB1PAYQB, about one payment that was returned."""
    ordered_on = answers.optional_text(record, "oprDat") or f"{today:%Y%m%d}"
    return {
        "bb1payqby1": [
            {
                "bbkNbr": settings.branch,
                "accNbr": settings.account,
                "bgnDat": ordered_on,
                "endDat": f"{today:%Y%m%d}",
                "reqNbr": answers.optional_text(record, "reqNbr"),
            }
        ]
    }


def returned_on(body: Mapping[str, object], out_ref: str) -> datetime | None:
    """The day on which a payment came back, if the answer says so. Raises Malformed."""
    for record in records(body, "bb1payqbz1"):
        if record.get("yurRef") == out_ref:
            try:
                text = answers.optional_text(record, "updDat")
                return datetime.strptime(text, "%Y%m%d").replace(tzinfo=ZONE)
            except ValueError:
                return None
    return None


def account(settings: Settings) -> Json:
    """The body of NTQACINF."""
    return {"ntqacinfx": [{"bbknbr": settings.branch, "accnbr": settings.account}]}


def transactions(day: date, sequence: str, settings: Settings) -> Json:
    """The body of DCTRSINF; `sequence` is where to go on."""
    return {
        "bbknbr": settings.branch,
        "accnbr": settings.account,
        "trsdat": f"{day:%Y%m%d}",
        "trsseq": sequence,
    }


def _business(settings: Settings) -> Json:
    return {"busCod": settings.business_code, "busMod": settings.business_mode}


def response(content: Json, *, function: str, user_id: str, request_id: str) -> tuple[Json, Json]:
    """Head and body of an answer to this very request. Raises Malformed."""
    inner = answers.child(content, "response")
    head = answers.child(inner, "head")
    for name, asked in (("funcode", function), ("userid", user_id), ("reqid", request_id)):
        if head.get(name) != asked:
            raise Malformed(f"{name} is not that of the question", field=name)
    answers.text(head, "resultcode")
    return head, answers.child(inner, "body") if head["resultcode"] == CALL_OK else {}


def records(body: Mapping[str, object], name: str) -> list[Json]:
    """A list of objects; empty where it was left out. Raises Malformed."""
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Malformed(f"{name} is no list of objects", field=name)
    return value


def refused(head: Mapping[str, object]) -> Outcome:
    """A call that was not carried out, as far as anybody knows."""
    return Outcome(
        kind=OutcomeKind.UNKNOWN,
        code=answers.optional_text(head, "resultcode"),
        message=answers.optional_text(head, "resultmsg"),
    )


def accepted(record: Mapping[str, object], settings: Settings) -> Outcome:
    """What became of a payment, or a batch, that was handed in. Raises Malformed.

    An error code without a number of the bank's own means that nothing was taken in. A duplicate
    was taken in before: only a query can tell what became of it.
    """
    error = answers.optional_text(record, "errCod")
    reference = answers.optional_text(record, "reqNbr")
    message = answers.optional_text(record, "errTxt") or answers.optional_text(record, "msgTxt")
    if error in ("", CALL_OK):
        state = answers.text(record, "reqSts")
        result = answers.optional_text(record, "rtnFlg")
        return _outcome(state, result, message, settings, reference=reference)
    if error in settings.duplicate_codes or reference:
        kind = OutcomeKind.UNKNOWN
    else:
        kind = OutcomeKind.DECLINED_HARD
    if kind is OutcomeKind.DECLINED_HARD and classify.code(message) == "INSUFFICIENT_FUNDS":
        kind = OutcomeKind.DECLINED_SOFT
    return Outcome(kind=kind, code=classify.code(message) or error, message=message)


def state(record: Mapping[str, object], settings: Settings) -> Outcome:
    """What a query says of a payment. Raises Malformed."""
    if answers.text(record, "ccyNbr") != CURRENCY_NUMBER:
        raise Malformed("the payment is not in yuan", field="ccyNbr")
    return _outcome(
        answers.text(record, "reqSts"),
        answers.optional_text(record, "rtnFlg"),
        answers.optional_text(record, "rtnNar"),
        settings,
        reference=answers.optional_text(record, "reqNbr"),
        amount_minor=fen(record, "trsAmt"),
    )


def _outcome(
    state: str,
    result: str,
    reason: str,
    settings: Settings,
    *,
    reference: str,
    amount_minor: int | None = None,
) -> Outcome:
    kind = classify.state(state, result, reason, settings.suspicious)
    return Outcome(
        kind=kind,
        provider_ref=reference,
        code=classify.code(reason) or (f"{state}_{result}" if result else state),
        message=reason,
        amount_minor=amount_minor,
        currency="" if amount_minor is None else CURRENCY,
    )


def balance(body: Mapping[str, object], settings: Settings) -> Balance:
    """What may be paid out of the account. Raises Malformed."""
    for record in records(body, "ntqacinfz"):
        if record.get("accnbr") == settings.account:
            if answers.text(record, "ccynbr") != CURRENCY_NUMBER:
                raise Malformed("the account is not in yuan", field="ccynbr")
            return Balance(currency=CURRENCY, available_minor=max(fen(record, "avlblv"), 0))
    raise Malformed("the account is not in the answer", field="ntqacinfz")


def next_sequence(body: Mapping[str, object]) -> str | None:
    """Where a page's transactions go on; None where they are complete. Raises Malformed."""
    (control, *_) = records(body, "ntrbptrsz1") or [{}]
    if control.get("cotflg") != MORE:
        return None
    last = answers.text(control, "trsseq")
    if not (last.isascii() and last.isdigit() and len(last) < REFERENCE_LENGTH_MAX):
        raise Malformed("trsseq is no number", field="trsseq")
    return str(int(last) + 1)


def bill(day: date, pages: Sequence[Mapping[str, object]], settings: Settings) -> BillFile:
    """A day's transactions as one document: the bank has no file of them, and no hash."""
    rows = sum(len(records(page, "ntqactrsz2")) for page in pages)
    content = orjson.dumps(
        {
            "format": "cmb-transactions-1",
            "account": settings.account,
            "currency": CURRENCY,
            "day": day.isoformat(),
            "pages": [
                {name: records(page, name) for name in ("ntrbptrsz1", "ntqactrsz2")}
                for page in pages
            ],
        },
        default=_plain,
        option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS,
    )
    return BillFile(
        content=content,
        hash_type="SHA256",
        hash_value=hashlib.sha256(content).hexdigest(),
        empty=not rows,
    )


def _plain(value: object) -> str:
    if isinstance(value, Number):
        return str(value)
    raise TypeError(type(value).__name__)
