"""A bank's HTTP interface: pain.001 is posted, pain.002 and camt are asked for; everything is signed both ways."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from libs.clock import Clock
from services.gateway.channels import answers, http
from services.gateway.channels.answers import Malformed
from services.gateway.channels.gathering import Gathering
from services.gateway.channels.iso20022 import classify, messages, reports, signing
from services.gateway.channels.iso20022.reports import Fact, Told
from services.gateway.channels.iso20022.settings import Settings
from services.gateway.domain.channel import (
    BillNotReady,
    ChannelUnavailable,
    Outcome,
    OutcomeKind,
    PayoutOrder,
)

SIGNING_THREADS: Final = 2
STATEMENT_TIMEOUT_S: Final = 60.0
STATEMENT_BYTES_MAX: Final = 64 << 20
SERVER_FAULT_MIN: Final = 500
INVALID, NOT_READY, NOT_FOUND = "MESSAGE_INVALID", "STATEMENT_NOT_READY", "PAYMENT_NOT_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Keys:
    """Ours to sign, the bank's to verify."""

    private_key: signing.PrivateKey
    key_id: str
    bank_key: signing.PublicKey


class OverHttp:
    """One account at a bank's HTTP interface. Implements `Transport`."""

    def __init__(
        self,
        *,
        base_url: str,
        settings: Settings,
        keys: Keys,
        http: http.ChannelHttp,
        clock: Clock,
        new_nonce: Callable[[], str],
        timeout_s: float,
    ) -> None:
        self._base_url = base_url
        self._base_path = urlsplit(base_url).path
        self._settings = settings
        self._keys = keys
        self._http = http
        self._clock = clock
        self._new_nonce = new_nonce
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="iso20022-sign")
        self._gathering = Gathering[PayoutOrder, Outcome](
            self._pay, window_s=settings.batch_window_s, count_max=settings.batch_count_max
        )

    async def payout(self, order: PayoutOrder) -> Outcome:
        """Hand a payout in, alone or with those that come at the same time."""
        if self._settings.batch_count_max > 1:
            return await self._gathering.add(order)
        (outcome,) = await self._pay([order])
        return outcome

    async def query(self, out_ref: str) -> Outcome:
        """What the bank says of a payout, and whether the money came back."""
        return await answers.settle(self._query(out_ref))

    async def statement(self, day: date) -> bytes:
        """camt.053 of a day. Raises BillNotReady, ChannelUnavailable."""
        answer = await self._ask(f"/statements/{day.isoformat()}")
        if answer.status == HTTPStatus.OK:
            return answer.body
        code = _code(answer)
        if code == NOT_READY:
            raise BillNotReady(f"the statement of {day.isoformat()} is not ready")
        raise ChannelUnavailable(f"HTTP {answer.status} {code}")

    async def latest_report(self) -> bytes:
        """camt.052 of now. Raises ChannelUnavailable."""
        answer = await self._ask("/balance")
        if answer.status != HTTPStatus.OK:
            raise ChannelUnavailable(f"HTTP {answer.status} {_code(answer)}")
        return answer.body

    async def _pay(self, orders: Sequence[PayoutOrder]) -> Sequence[Outcome]:
        unique = {order.out_ref: order for order in orders}
        facts: list[Fact] = []

        async def send() -> Outcome:
            told = await self._hand_in(list(unique.values()), facts)
            return told or Outcome(kind=OutcomeKind.UNKNOWN, code="NOT_MENTIONED")

        common = await answers.settle(send())
        return [classify.fold(facts, order.out_ref) or common for order in orders]

    async def _hand_in(self, orders: Sequence[PayoutOrder], facts: list[Fact]) -> Outcome | None:
        """An outcome that holds for each, or None, and `facts` about them. Raises as `_call`, and Malformed."""
        message_id = messages.message_id(orders)
        content = messages.payments(message_id, orders, self._settings, self._clock.now())
        answer = await self._call("POST", "/payments", content, timeout_s=self._timeout_s)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            code = _code(answer)
            refused = answer.status == HTTPStatus.BAD_REQUEST and code == INVALID
            kind = OutcomeKind.DECLINED_HARD if refused else OutcomeKind.UNKNOWN
            return Outcome(kind=kind, code=code or f"HTTP_{answer.status}")
        told = await self._read(answer.body)
        for fact in told.facts:
            answers.check_reference(fact.message_id, asked=message_id)
        facts.extend(told.facts)
        return None

    async def _query(self, out_ref: str) -> Outcome:
        path = f"/payments/{quote(out_ref, safe='')}"
        answer = await self._call("GET", path, timeout_s=self._timeout_s)
        if answer.status != HTTPStatus.OK:
            code = _code(answer)
            known = answer.status != HTTPStatus.NOT_FOUND or code != NOT_FOUND
            kind = OutcomeKind.UNKNOWN if known else OutcomeKind.NOT_FOUND
            return Outcome(kind=kind, code=code or f"HTTP_{answer.status}")
        told = await self._read(answer.body)
        outcome = classify.fold(told.facts, out_ref)
        if outcome is None:
            raise Malformed(f"asked about {out_ref}, answered about another")
        if outcome.kind is not OutcomeKind.SUCCEEDED:
            return outcome
        moved = await self._call("GET", f"{path}/notifications", timeout_s=self._timeout_s)
        if moved.status != HTTPStatus.OK:
            return outcome
        notices = await self._read(moved.body)
        return classify.fold([*told.facts, *notices.facts], out_ref) or outcome

    async def _read(self, content: bytes) -> Told:
        return await asyncio.to_thread(reports.read, content, zone=self._settings.zone)

    async def _ask(self, path: str) -> http.HttpAnswer:
        """Raises ChannelUnavailable."""
        try:
            return await self._call(
                "GET",
                path,
                timeout_s=STATEMENT_TIMEOUT_S,
                answer_bytes_max=STATEMENT_BYTES_MAX,
            )
        except answers.SignatureInvalid as error:
            raise ChannelUnavailable(str(error), field=error.field) from error
        except (http.NotSent, http.NoAnswer, answers.ServerFault) as error:
            raise ChannelUnavailable(str(error)) from error

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        answer_bytes_max: int = http.ANSWER_BYTES_MAX,
    ) -> http.HttpAnswer:
        """Raises NotSent, NoAnswer, ServerFault, SignatureInvalid."""
        values = signing.request_values(
            method, self._base_path + path, "", signing.content_digest(body)
        )
        headers = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: signing.request_headers(
                self._keys.private_key,
                self._keys.key_id,
                values=values,
                created_at=self._clock.now(),
                nonce=self._new_nonce(),
            ),
        )
        answer = await self._http.send(
            method,
            self._base_url + path,
            headers={"Content-Type": "application/xml", "User-Agent": "fisc", **headers},
            body=body,
            timeout_s=timeout_s,
            answer_bytes_max=answer_bytes_max,
        )
        if answer.status >= SERVER_FAULT_MIN:
            raise answers.ServerFault(answer.status)
        signing.verify_answer(
            self._keys.bank_key,
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            request=values,
            now=self._clock.now(),
        )
        return answer


def _code(answer: http.HttpAnswer) -> str:
    try:
        return answers.optional_text(answers.decode_object(answer.body), "code")
    except Malformed:
        return ""
