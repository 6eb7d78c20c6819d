"""The bank: takes payments in, tells what became of them, what the account holds and what moved on it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox import bank, bills, gate
from services.sandbox.clock import SHANGHAI
from services.sandbox.cmb import envelope
from services.sandbox.errors import Conflict
from services.sandbox.gate import Failing
from services.sandbox.notifier import Letter
from services.sandbox.provider import House
from services.sandbox.records import Account, Callback, Payout

PROVIDER: Final = "cmb"
API_PATH: Final = "/cdcserver/api/v2"
KEY_FILE: Final = "cmb_bank_key.hex"
OK: Final = "SUC0000"
OK_STATUS, SERVER_FAULT_MIN = 200, 500
RENMINBI: Final = "10"
PAGE_SIZE_DEFAULT: Final = 200
BATCH_MAX: Final = 1_000
DUPLICATE, BAD_FIELD, BATCH_TOO_LONG = "CSAC054", "CSAC001", "CSAC090"
NOT_READY: Final = "CDC0020"
_FEN: Final = 100
_STATES: Final = {
    "PROCESSING": ("BNK", "", ""),
    "SUCCEEDED": ("FIN", "S", ""),
    "FAILED": ("FIN", "F", "账户余额不足"),
    "RETURNED": ("FIN", "B", "收款人账户已销户"),
}
_REFUSALS: Final = {
    "AC01": "收方账号不存在",
    "AC04": "收方账户已销户",
    "BE01": "收方户名不符",
    bank.CUT_OFF: "已过业务截止时间",
}

Json = dict[str, Any]


class DayNotOver(Exception):
    """Asked for the transactions of a day to come."""


@dataclass(slots=True, kw_only=True)
class _Call:
    account: Account
    function: str
    request_id: str
    body: Json
    out_ref: str = ""


Handler = Callable[[_Call], Awaitable[Json]]


class Cmb:
    """All companies' accounts; the form says whose request it is."""

    def __init__(self, house: House) -> None:
        self._bank = bank.Bank(house.exchange)
        self._book = house.exchange.book
        self._clock = house.exchange.clock
        self._gate = house.gate
        self._faults = house.faults
        self._key = envelope.BankKey(house.data_dir / KEY_FILE)
        self._functions: dict[str, Handler] = {
            "BB1PAYOP": self._pay,
            "BB1PAYBH": self._pay_batch,
            "BB1PAYQR": self._query,
            "BB1PAYQB": self._returns,
            "NTQACINF": self._balance,
            "DCTRSINF": self._transactions,
        }

    def routes(self) -> list[Route]:
        """One address for all companies."""
        return [Route(API_PATH, self._endpoint, methods=["POST"])]

    async def letter(self, _: Callback) -> Letter | None:
        """The bank calls nobody."""
        return None

    def probe(self, _: Account) -> Letter | None:
        """None is sent."""
        return None

    def introduction(self, _: Account) -> dict[str, str]:
        """What companies verify the bank's answers with."""
        return {"bank_public_key": self._key.public_base64}

    async def _endpoint(self, request: Request) -> Response:
        fields = {
            name: values[0]
            for name, values in parse_qs((await request.body()).decode("latin-1")).items()
        }
        account = self._account(fields.get("UID", ""))
        if account is None or fields.get("ALG") != "SM":
            return _transport_error("no such user, or not from this address")
        operation = fields.get("FUNCODE", "")
        call = None
        try:
            call = self._open(account, operation, fields.get("DATA", ""))
            content = await self._carry_out(call)
        except envelope.Refused as refused:
            return _transport_error(str(refused))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            return _transport_error(f"the request is not complete: {type(error).__name__}")
        except gate.Gone as gone:
            return gone.response
        except Failing as failing:
            gate.requests_total.labels(PROVIDER, operation[:16], failing.status).inc()
            if failing.status >= SERVER_FAULT_MIN:
                return Response(failing.message, failing.status, media_type="text/plain")
            return _transport_error(failing.message)
        gate.requests_total.labels(PROVIDER, operation[:16], OK_STATUS).inc()
        body = envelope.answer(
            content,
            user_id=account.terms["user_id"],
            cipher_key=account.terms["cipher_key"],
            key=self._key.private,
            spoiled=self._gate.spoils_signature(account, "answer", call.out_ref),
        )
        return Response(body, OK_STATUS, media_type="text/plain")

    def _open(self, account: Account, function: str, data: str) -> _Call:
        """Raises Refused, or what an incomplete request makes of it."""
        keys = account.terms
        opened = envelope.open_request(
            data,
            user_id=keys["user_id"],
            cipher_key=keys["cipher_key"],
            public_key=keys["public_key"],
        )
        head = opened["head"]
        if (head["funcode"], head["userid"]) != (function, keys["user_id"]):
            raise envelope.Refused("the form and the request differ")
        return _Call(
            account=account,
            function=function,
            request_id=str(head["reqid"]),
            body=opened["body"],
        )

    def _account(self, user_id: str) -> Account | None:
        for account in self._book.accounts():
            if account.provider == PROVIDER and account.terms.get("user_id") == user_id:
                return account
        return None

    async def _carry_out(self, call: _Call) -> Json:
        handler = self._functions.get(call.function)
        head = {
            "funcode": call.function,
            "userid": call.account.terms["user_id"],
            "reqid": call.request_id,
            "rspid": f"R{call.request_id}",
            "bizcode": "",
            "resultcode": OK,
            "resultmsg": "",
        }
        if handler is None:
            return {"head": head | {"resultcode": "CDC0001", "resultmsg": "未知接口"}, "body": {}}
        try:
            return {"body": await handler(call), "head": head}
        except DayNotOver:
            return {
                "head": head | {"resultcode": NOT_READY, "resultmsg": "查询日期未到"},
                "body": {},
            }

    async def _pay(self, call: _Call) -> Json:
        (item,) = call.body["bb1payopx1"]
        call.out_ref = str(item["yurRef"])
        await self._gate.enter(call.account, "payout", call.out_ref)
        known = self._book.find(Payout, call.account.account_id, call.out_ref)
        fault = "" if known else self._gate.hidden(call.account, "payout", call.out_ref)
        answered = self._take_in(call.account, item)
        self._gate.leave(fault)
        return {"bb1payopz1": [answered]}

    async def _pay_batch(self, call: _Call) -> Json:
        (head,), items = call.body["bb1bmdbhx1"], call.body["bb1paybhx1"]
        number = str(head["bthNbr"])
        call.out_ref = number
        await self._gate.enter(call.account, "payout", number)
        if len(items) != int(head["dtlNbr"]) or not 0 < len(items) <= BATCH_MAX:
            refusal = {"bthNbr": number, "errCod": BATCH_TOO_LONG, "errTxt": "批次笔数不符"}
            return {"bb1paybhz1": [refusal]}
        fault = self._gate.hidden(call.account, "payout", number)
        for item in items:
            self._take_in(call.account, item)
        self._gate.leave(fault)
        return {"bb1paybhz1": [{"bthNbr": number, "errCod": OK, "reqSts": "OPR", "rtnFlg": ""}]}

    def _take_in(self, account: Account, item: Json) -> Json:
        """One payment: taken in, refused for good, or known already."""
        out_ref = str(item["yurRef"])
        if item.get("dbtAcc") != account.terms["account"] or item.get("ccyNbr") != RENMINBI:
            return {"errCod": BAD_FIELD, "errTxt": "付方账号或币种有误", "reqNbr": ""}
        try:
            amount = _fen(str(item["trsAmt"]))
        except ValueError:
            return {"errCod": BAD_FIELD, "errTxt": "交易金额有误", "reqNbr": ""}
        if self._book.find(Payout, account.account_id, out_ref) is not None:
            return {"errCod": DUPLICATE, "errTxt": "业务参考号重复", "reqNbr": ""}
        try:
            payout = self._bank.pay(
                account,
                out_ref=out_ref,
                amount=amount,
                currency="CNY",
                payee_account=str(item["crtAcc"]),
                payee_name=str(item["crtNam"]),
                description=str(item.get("nusAge", "")),
            )
        except Conflict:
            return {"errCod": DUPLICATE, "errTxt": "业务参考号重复", "reqNbr": ""}
        state, result, reason = _state(payout)
        return {
            "errCod": OK,
            "errTxt": reason,
            "reqNbr": payout.provider_ref,
            "reqSts": state,
            "rtnFlg": result,
        }

    async def _query(self, call: _Call) -> Json:
        (item,) = call.body["bb1payqrx1"]
        call.out_ref = str(item["yurRef"])
        await self._gate.enter(call.account, "query_payout", call.out_ref)
        payout = self._book.find(Payout, call.account.account_id, call.out_ref)
        if payout is None:
            return {"bb1payqrz1": []}
        state, result, reason = _state(payout)
        found = {
            "yurRef": payout.out_ref,
            "reqNbr": payout.provider_ref,
            "busCod": item["busCod"],
            "dbtAcc": call.account.terms["account"],
            "crtAcc": payout.payee_account,
            "crtNam": payout.payee_name,
            "ccyNbr": RENMINBI,
            "trsAmt": _yuan(payout.amount),
            "oprDat": f"{payout.created_at.astimezone(SHANGHAI):%Y%m%d}",
            "reqSts": state,
            "rtnFlg": result,
            "rtnNar": reason,
        }
        return {"bb1payqrz1": [found]}

    async def _returns(self, call: _Call) -> Json:
        (item,) = call.body["bb1payqby1"]
        await self._gate.enter(call.account, "query_return", "")
        first, last = (_day(str(item[name])) for name in ("bgnDat", "endDat"))
        returned = self._book.select(
            Payout,
            "WHERE account_id = ? AND substr(returned_at, 1, 10) BETWEEN ? AND ?",
            *(call.account.account_id, first.isoformat(), last.isoformat()),
        )
        return {
            "bb1payqbz1": [
                {
                    "yurRef": payout.out_ref,
                    "reqNbr": payout.provider_ref,
                    "ccyNbr": RENMINBI,
                    "trsAmt": _yuan(payout.amount),
                    "updDat": f"{payout.returned_at:%Y%m%d}",
                    "rtnCod": payout.code,
                    "rtnTxt": _state(payout)[2],
                }
                for payout in returned
                if item.get("reqNbr") in ("", None, payout.provider_ref)
            ]
        }

    async def _balance(self, call: _Call) -> Json:
        (item,) = call.body["ntqacinfx"]
        await self._gate.enter(call.account, "balance", "")
        account = call.account
        if item.get("accnbr") != account.terms["account"]:
            return {"ntqacinfz": []}
        available = _yuan(self._book.available(account.account_id, "CNY"))
        found = {
            "accnbr": item["accnbr"],
            "bbknbr": item.get("bbknbr", ""),
            "ccynbr": RENMINBI,
            "stscod": "A",
            "avlblv": available,
            "onlblv": available,
            "hldblv": "0.00",
        }
        return {"ntqacinfz": [found]}

    async def _transactions(self, call: _Call) -> Json:
        body, account = call.body, call.account
        await self._gate.enter(account, "bill", "")
        day = _day(str(body["trsdat"]))
        if day > self._clock.today():
            raise DayNotOver
        first = max(int(body.get("trsseq") or 0), 1)
        size = int(account.terms.get("page_size", PAGE_SIZE_DEFAULT))
        rows = self._rows(account, day)
        page = rows[first - 1 : first - 1 + size]
        debits = [row for row in page if row["amtcdr"] == "D"]
        credits_ = [row for row in page if row["amtcdr"] == "C"]
        control = {
            "cotflg": "Y" if first - 1 + size < len(rows) else "N",
            "trsseq": str(first - 1 + len(page)),
            "dbtnbr": str(len(debits)),
            "dbtamt": _total(debits),
            "crtnbr": str(len(credits_)),
            "crtamt": _total(credits_),
        }
        if page and self._faults.take(account.account_id, "bill_truncated", "bill", ""):
            page = page[: len(page) // 2]
        return {"ntrbptrsz1": [control], "ntqactrsz2": page}

    def _rows(self, account: Account, day: date) -> list[Json]:
        balance = self._bank.balance_before(account, day)
        rows: list[Json] = []
        for line in self._bank.stated(account.account_id, day, self._faults):
            is_return = isinstance(line, bills.PayoutReturn)
            balance += line.amount if is_return else -line.amount
            rows.append(_row(line, is_return=is_return, balance=balance))
            fee = 0 if is_return else getattr(line, "fee", 0)
            if fee:
                balance -= fee
                rows.append(_fee_row(line, fee, balance))
        return rows


def _row(line: bank.Line, *, is_return: bool, balance: int) -> Json:
    moment = bank.moved_at(line)
    return {
        "etydat": f"{moment.astimezone(SHANGHAI):%Y%m%d}",
        "etytim": f"{moment.astimezone(SHANGHAI):%H%M%S}",
        "trsamt": _yuan(line.amount),
        "amtcdr": "C" if is_return else "D",
        "trsblv": _yuan(balance),
        "refnbr": f"{'C' if is_return else 'D'}{line.provider_ref}",
        "reqnbr": line.provider_ref,
        "yurref": line.out_ref,
        "busnam": "企银支付",
        "naryur": "退票" if is_return else "汇款",
        "rsvflg": "",
        "trscod": "CPRT" if is_return else "CPEA",
    }


def _fee_row(line: bank.Line, fee: int, balance: int) -> Json:
    return _row(line, is_return=False, balance=balance) | {
        "naryur": "汇款手续费",
        "trsamt": _yuan(fee),
        "refnbr": f"F{line.provider_ref}",
        "trscod": "CPFE",
    }


def _state(payout: Payout) -> tuple[str, str, str]:
    state, result, reason = _STATES[payout.status]
    if payout.status == "FAILED":
        reason = _REFUSALS.get(payout.code, reason)
    return state, result, reason


def _transport_error(reason: str) -> Response:
    return Response(f"CDCServer:SBX ErrMsg:{reason}", 200, media_type="text/plain")


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 (a date)


def _fen(text: str) -> int:
    whole, _, fraction = text.partition(".")
    if len(fraction) != 2 or not (whole + fraction).isdigit():  # noqa: PLR2004 (two decimals)
        raise ValueError(text)
    amount = int(whole + fraction)
    if amount <= 0:
        raise ValueError(text)
    return amount


def _yuan(amount: int) -> str:
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // _FEN}.{abs(amount) % _FEN:02d}"


def _total(rows: list[Json]) -> str:
    return _yuan(sum(_fen(row["trsamt"]) for row in rows))
