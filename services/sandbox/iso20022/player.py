"""The bank over HTTP, and the rules that its file interface shares."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from services.sandbox import bank, bills, gate
from services.sandbox.clock import parse_day
from services.sandbox.errors import Conflict
from services.sandbox.gate import Failing
from services.sandbox.iso20022 import messages, signing
from services.sandbox.iso20022.files import PROVIDER, Files
from services.sandbox.notifier import Letter
from services.sandbox.provider import House
from services.sandbox.records import Account, Callback, Payout

KEY_FILE: Final = "iso20022_bank_key.pem"
OK, ACCEPTED = 200, 202
XML: Final = "application/xml"
DUPLICATE: Final = "DU04"


class Iso20022:
    """All companies' accounts, under `/iso20022/{account_id}`."""

    def __init__(self, house: House) -> None:
        self.bank = bank.Bank(house.exchange)
        self.book = house.exchange.book
        self.clock = house.exchange.clock
        self.gate = house.gate
        self.faults = house.faults
        self._key = signing.BankKey(house.data_dir / KEY_FILE)
        self._files = Files(self)

    def routes(self) -> list[Mount]:
        """An account's own below its number."""
        table = [
            ("POST", "/payments", "payout", self._pay),
            ("GET", "/payments/{out_ref}", "query_payout", self._query),
            ("GET", "/payments/{out_ref}/notifications", "query_payout", self._notices),
            ("GET", "/statements/{day}", "bill", self._statement),
            ("GET", "/balance", "balance", self._balance),
        ]
        routes = [
            Route(path, self._endpoint(operation, handler), methods=[method])
            for method, path, operation, handler in table
        ]
        return [Mount("/{account_id}", routes=routes)]

    async def run(self) -> None:
        """Exchange files, for ever; cancel to stop."""
        await self._files.run()

    async def letter(self, _: Callback) -> Letter | None:
        """The bank calls nobody."""
        return None

    def probe(self, _: Account) -> Letter | None:
        """None is sent."""
        return None

    def introduction(self, _: Account) -> dict[str, str]:
        """What companies verify the bank's answers with."""
        return {"bank_public_key_pem": self._key.public_pem}

    def _endpoint(
        self, operation: str, handler: Callable[[Account, Request], Awaitable[bytes]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            account = self.book.account(request.path_params["account_id"])
            if account is None or account.provider != PROVIDER:
                return Response(b'{"code":"ACCOUNT_NOT_FOUND"}', 404)
            path = request.scope["raw_path"].decode("ascii")
            status, kind = OK, XML
            try:
                signing.check(
                    account.terms["public_key_pem"],
                    method=request.method,
                    path=path,
                    headers=request.headers,
                    body=await request.body(),
                )
                body = await handler(account, request)
            except signing.Refused as refused:
                status, kind = 401, "application/json"
                body = orjson.dumps({"code": "SIGN_ERROR", "message": str(refused)})
            except messages.MessageInvalid as invalid:
                status, kind = 400, "application/json"
                body = orjson.dumps({"code": "MESSAGE_INVALID", "message": str(invalid)})
            except gate.Gone as gone:
                return gone.response
            except Failing as failing:
                status, kind = failing.status, "application/json"
                body = orjson.dumps(failing.body())
            gate.requests_total.labels(PROVIDER, operation, status).inc()
            out_ref = request.path_params.get("out_ref", "")
            headers = signing.answer_headers(
                self._key.private,
                status=status,
                body=body,
                method=request.method,
                path=path,
                spoiled=self.gate.spoils_signature(account, "answer", out_ref),
            )
            return Response(body, status, headers | {"Content-Type": kind})

        return endpoint

    def take_in(
        self, account: Account, message_id: str, transfers: list[messages.Transfer]
    ) -> bytes:
        """Carry a message out; what the bank says of it. A number known already moves nothing again."""
        now, payouts, conflicts = self.clock.now(), [], 0
        for each in transfers:
            try:
                payouts.append(
                    self.bank.pay(
                        account,
                        out_ref=each.end_to_end_id,
                        amount=each.amount,
                        currency=each.currency,
                        payee_account=each.payee_account,
                        payee_name=each.payee_name,
                        description=each.description,
                    )
                )
            except Conflict:
                conflicts += 1
        if conflicts:
            status = "PART" if payouts else "RJCT"
            return messages.status_report(
                message_id,
                payouts,
                now,
                messages.versions(account),
                group_status=status,
                reason=DUPLICATE,
            )
        return messages.status_report(message_id, payouts, now, messages.versions(account))

    def statement_of(self, account: Account, day_text: str) -> bytes:
        """camt.053. Raises Failing for a day that is not over, or none."""
        try:
            day = parse_day(day_text)
        except ValueError as error:
            raise Failing(400, "PARAM_ERROR", "not a day") from error
        if day > self.clock.today() - timedelta(days=int(account.terms.get("statement_lag", "0"))):
            raise Failing(404, "STATEMENT_NOT_READY", "that day is not over")
        lines = self.bank.stated(account.account_id, day, self.faults)
        opening = self.bank.balance_before(account, day)
        content = messages.statement(account, day, lines, opening, messages.versions(account))
        if self.faults.take(account.account_id, "bill_truncated", "bill", "", day_text):
            return bills.truncated(content)
        return content

    async def _pay(self, account: Account, request: Request) -> bytes:
        message_id, transfers = messages.read_payments(
            await request.body(), account.terms["account"]
        )
        subject = transfers[0].end_to_end_id if len(transfers) == 1 else message_id
        await self.gate.enter(account, "payout", subject)
        known = self.book.find(Payout, account.account_id, subject)
        fault = "" if known else self.gate.hidden(account, "payout", subject)
        report = self.take_in(account, message_id, transfers)
        self.gate.leave(fault)
        return report

    async def _query(self, account: Account, request: Request) -> bytes:
        payout = await self._found(account, request)
        return messages.status_report(
            payout.out_ref, [payout], self.clock.now(), messages.versions(account)
        )

    async def _notices(self, account: Account, request: Request) -> bytes:
        payout = await self._found(account, request)
        lines: list[bank.Line] = [payout] if payout.finished_at else []
        if payout.returned_at is not None:
            lines.append(bills.payout_return(payout))
        return messages.notification(account, lines, self.clock.now(), messages.versions(account))

    async def _found(self, account: Account, request: Request) -> Payout:
        out_ref = request.path_params["out_ref"]
        await self.gate.enter(account, "query_payout", out_ref)
        payout = self.book.find(Payout, account.account_id, out_ref)
        if payout is None:
            raise Failing(404, "PAYMENT_NOT_FOUND", "no such payment")
        return payout

    async def _statement(self, account: Account, request: Request) -> bytes:
        await self.gate.enter(account, "bill", "")
        return self.statement_of(account, request.path_params["day"])

    async def _balance(self, account: Account, request: Request) -> bytes:
        del request
        await self.gate.enter(account, "balance", "")
        available = self.book.available(account.account_id, account.profile.currency)
        return messages.balance_report(
            account, available, self.clock.now(), messages.versions(account)
        )
