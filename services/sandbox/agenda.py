"""What the sandbox will do later without being asked: payers, banks, and the notifications of both."""

import asyncio
import uuid
from collections.abc import Callable

from services.sandbox import clock as clocks
from services.sandbox.book import Book
from services.sandbox.fate import Fate
from services.sandbox.notifier import Notifier


class Agenda:
    """Plans on the running loop. The book keeps what they are made of, so they can be made again."""

    def __init__(self, *, book: Book, fate: Fate, notifier: Notifier) -> None:
        self._book = book
        self._fate = fate
        self._notifier = notifier
        self._timers: set[asyncio.TimerHandle] = set()

    def plan(
        self, due_ms: int | None, act: Callable[[str, str], object], account_id: str, out_ref: str
    ) -> None:
        """Let `act` happen to the account's reference at that real time; None is at once."""

        def happen() -> None:
            self._timers.discard(timer)
            act(account_id, out_ref)

        wait_s = max(0, (due_ms or 0) - clocks.now_ms()) / 1000
        timer = asyncio.get_running_loop().call_later(wait_s, happen)
        self._timers.add(timer)

    def tell(self, account_id: str, kind: str, out_ref: str, url: str, *, event: str = "") -> None:
        """Notify the merchant, if there is an address. `event` sets later news of one thing apart."""
        account = self._book.account(account_id)
        if not url or account is None:
            return
        name = f"{account_id}/{kind}/{out_ref}" + (f"/{event}" if event else "")
        self._notifier.enqueue(
            event_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
            account_id=account_id,
            kind=kind,
            out_ref=out_ref,
            url=url,
            due_ms=self._fate.callback_at_ms(account, out_ref),
        )

    def stop(self) -> None:
        """Forget the plans."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
