"""I17: what is written into logs and metrics is read, and must hold no secret of the world."""

from collections.abc import Collection, Iterator, MutableMapping
from typing import Any

import orjson
import prometheus_client
import structlog

from libs import log

LINES_MAX = 20_000


class Reader:
    """Reads every line as it would leave the process, and every label of every metric."""

    def __init__(self, *, is_reading: bool) -> None:
        self.is_reading = is_reading
        self.lines: list[str] = []

    @property
    def processors(self) -> list[Any]:
        """What comes before a line is judged."""
        return [structlog.processors.add_log_level, self._read] if self.is_reading else []

    def leaks(self, secrets: Collection[str]) -> Iterator[str]:
        """Where a secret stands."""
        if not self.is_reading:
            return
        for line in self.lines:
            yield from (f"a log line: {line}" for secret in secrets if secret in line)
        for metric in prometheus_client.REGISTRY.collect():
            for sample in metric.samples:
                labels = " ".join(sample.labels.values())
                yield from (
                    f"{sample.name} {labels}" for secret in secrets if labels and secret in labels
                )

    def _read(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> Any:
        shown = structlog.processors.format_exc_info(logger, name, dict(event))
        masked = log._mask_event(logger, name, shown)
        if len(self.lines) < LINES_MAX:
            self.lines.append(orjson.dumps(masked, default=str).decode())
        return event
