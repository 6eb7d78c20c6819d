"""Shows how far a replay is: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.local import replay

LINE_INTERVAL_S: Final = 3.0


@contextlib.contextmanager
def shown(out: Console, name: str) -> Iterator[replay.Progress]:
    """Give what a replay calls with (done, total, news)."""
    if not out.is_terminal:
        yield _Lines(out, name)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[news]}"),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(name, total=None, news="")

        def show(done: int, total: int, news: str) -> None:
            bar.update(task, completed=done, total=total, news=news)

        yield show


class _Lines:
    """A line every few seconds."""

    def __init__(self, out: Console, name: str) -> None:
        self._out = out
        self._name = name
        self._last_s = time.monotonic()

    def __call__(self, done: int, total: int, news: str) -> None:
        now = time.monotonic()
        is_fault = "planted" in news or "lifted" in news
        if is_fault or now - self._last_s >= LINE_INTERVAL_S:
            self._last_s = now
            self._out.print(f"{self._name}: {done} of {total} rows, {news}")
