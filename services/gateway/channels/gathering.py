"""Orders that come in together go out together: one message for all that arrive within a window."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Order = TypeVar("Order")
Answer = TypeVar("Answer")


class Gathering(Generic[Order, Answer]):
    """Hands on what was gathered when the window closes or enough has come; the first one in opens it.

    `send` answers in the order of what it was given, and must not raise: what it does not know is
    an answer, too. Whoever is canceled while waiting leaves its order in the message.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Order]], Awaitable[Sequence[Answer]]],
        *,
        window_s: float,
        count_max: int,
    ) -> None:
        self._send = send
        self._window_s = window_s
        self._count_max = count_max
        self._waiting: list[tuple[Order, asyncio.Future[Answer]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def add(self, order: Order) -> Answer:
        """Wait for the answer to this order."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((order, answer))
        if len(self._waiting) >= self._count_max:
            self._close()
        elif self._timer is None:
            self._timer = loop.call_later(self._window_s, self._close)
        return await answer

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._deliver(gathered))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, gathered: list[tuple[Order, asyncio.Future[Answer]]]) -> None:
        futures = [future for _, future in gathered]
        try:
            answers = await self._send([order for order, _ in gathered])
            answered = list(zip(futures, answers, strict=True))
        except Exception as error:  # noqa: BLE001 (each of those who wait hears of it)
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        for future, answer in answered:
            if not future.done():
                future.set_result(answer)
