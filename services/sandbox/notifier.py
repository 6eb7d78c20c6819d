"""Delivers callbacks until they are acknowledged, with a back-off ladder kept in the book."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import httpx
import prometheus_client

from services.sandbox.book import Book
from services.sandbox.clock import now_ms
from services.sandbox.faults import FaultBoard
from services.sandbox.records import Callback

WAITING, DELIVERED, LOST, GIVEN_UP = "WAITING", "DELIVERED", "LOST", "GIVEN_UP"

DELIVERY_TIMEOUT_S = 5.0
DELIVERIES_MAX = 16
DUPLICATE_AFTER_MS = 150
ANSWER_KEPT_CHARS = 200

_deliveries_total = prometheus_client.Counter(
    "fisc_sandbox_callbacks", "Callback deliveries by result.", ["account", "result"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One signed delivery, and how the receiver's answer is judged.

    `waits_s` is a provider's own ladder; it is scaled so that its first wait is that of the settings.
    """

    headers: dict[str, str]
    body: bytes
    is_acknowledged: Callable[[int, bytes], bool]
    waits_s: Sequence[float] = ()


Renderer = Callable[[Callback], Awaitable[Letter | None]]


class Notifier:
    """A loop over the callbacks that are due. `renderers` by provider are set before `run`."""

    def __init__(self, *, book: Book, faults: FaultBoard, backoff_s: Sequence[float]) -> None:
        self._book = book
        self._faults = faults
        self._backoff_s = tuple(backoff_s)
        self._wake = asyncio.Event()
        self._in_flight: set[str] = set()
        self.renderers: dict[str, Renderer] = {}

    def enqueue(
        self, *, event_id: str, account_id: str, kind: str, out_ref: str, url: str, due_ms: int
    ) -> None:
        """Plan a callback; an event already planned is not planned twice."""
        if self._book.select(Callback, "WHERE event_id = ?", event_id):
            return
        lost = self._faults.take(account_id, "lost_callback", kind, out_ref)
        repeated = not lost and self._faults.take(account_id, "duplicate_callback", kind, out_ref)
        self._book.save(
            Callback(
                event_id=event_id,
                account_id=account_id,
                kind=kind,
                out_ref=out_ref,
                url=url,
                status=LOST if lost else WAITING,
                attempts=0,
                next_attempt_ms=due_ms,
                repeats=1 if repeated else 0,
                last_answer="",
            )
        )
        self._wake.set()

    async def run(self) -> None:
        """Deliver for ever; cancel to stop. What was not delivered stays planned in the book."""
        limits = httpx.Limits(max_connections=DELIVERIES_MAX)
        async with (
            httpx.AsyncClient(timeout=DELIVERY_TIMEOUT_S, limits=limits, trust_env=False) as client,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                self._wake.clear()
                for callback in self._due():
                    self._in_flight.add(callback.event_id)
                    tasks.create_task(self._deliver(client, callback))
                try:
                    await asyncio.wait_for(self._wake.wait(), self._idle_s())
                except TimeoutError:
                    continue

    async def send(self, client: httpx.AsyncClient, url: str, letter: Letter) -> tuple[bool, str]:
        """One delivery: whether it was acknowledged, and the answer in short."""
        try:
            response = await client.post(url, content=letter.body, headers=letter.headers)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            return False, f"{type(problem).__name__}: {problem}"[:ANSWER_KEPT_CHARS]
        answer = f"{response.status_code} {response.text}"[:ANSWER_KEPT_CHARS]
        return letter.is_acknowledged(response.status_code, response.content), answer

    async def _deliver(self, client: httpx.AsyncClient, callback: Callback) -> None:
        try:
            acknowledged, answer, waits_s = False, "the channel is down", self._backoff_s
            if not self._faults.stands(callback.account_id, "down"):
                account = self._book.account(callback.account_id)
                letter = await self.renderers[account.provider](callback) if account else None
                if letter is None:
                    acknowledged, answer = True, "nothing to tell"
                else:
                    acknowledged, answer = await self.send(client, callback.url, letter)
                    waits_s = self._ladder(letter)
            after = self._after(callback, waits_s, acknowledged=acknowledged, answer=answer)
            self._book.save(after)
        finally:
            self._in_flight.discard(callback.event_id)
            self._wake.set()

    def _ladder(self, letter: Letter) -> tuple[float, ...]:
        if not (letter.waits_s and self._backoff_s):
            return self._backoff_s
        scale = self._backoff_s[0] / letter.waits_s[0]
        return tuple(wait_s * scale for wait_s in letter.waits_s)

    def _after(
        self, callback: Callback, waits_s: Sequence[float], *, acknowledged: bool, answer: str
    ) -> Callback:
        tried = replace(callback, attempts=callback.attempts + 1, last_answer=answer)
        if acknowledged and callback.repeats > 0:
            result, again_ms = WAITING, DUPLICATE_AFTER_MS
            tried = replace(tried, repeats=callback.repeats - 1)
        elif acknowledged:
            result, again_ms = DELIVERED, 0
        elif callback.attempts < len(waits_s):
            result, again_ms = WAITING, round(waits_s[callback.attempts] * 1000)
        else:
            result, again_ms = GIVEN_UP, 0
        label = "acknowledged" if acknowledged else "refused"
        _deliveries_total.labels(account=callback.account_id, result=label).inc()
        return replace(tried, status=result, next_attempt_ms=now_ms() + again_ms)

    def _due(self) -> list[Callback]:
        room = DELIVERIES_MAX - len(self._in_flight)
        if room <= 0:
            return []
        due = self._book.select(
            Callback,
            "WHERE status = 'WAITING' AND next_attempt_ms <= ? ORDER BY next_attempt_ms LIMIT ?",
            now_ms(),
            DELIVERIES_MAX * 2,
        )
        return [callback for callback in due if callback.event_id not in self._in_flight][:room]

    def _idle_s(self) -> float | None:
        """Until the next planned delivery; None while only a wake-up can bring work."""
        if len(self._in_flight) >= DELIVERIES_MAX:
            return None
        rows = self._book.execute(
            "SELECT next_attempt_ms FROM callback WHERE status = 'WAITING'"
            " ORDER BY next_attempt_ms LIMIT ?",
            len(self._in_flight) + 1,
        )
        if len(rows) <= len(self._in_flight):
            return None
        soonest_ms = int(rows[-1][0])
        return max(0.0, (soonest_ms - now_ms()) / 1000)
