"""What happened, in order: to be read by people when something went wrong, and to be compared by its hash."""

import hashlib

from tests.simulation.loop import SimulatedLoop


class History:
    """Lines of (time, what it is about, words)."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._lines: list[tuple[float, str, str]] = []

    def add(self, about: str, words: str) -> None:
        self._lines.append((self._loop.now_s, about, words))

    def of(self, subject_id: str) -> list[str]:
        """The lines about a subject, its attempts at channels included, and what befell the replicas."""
        stem = subject_id.partition("_")[2] or subject_id
        return [
            f"{now_s:10.3f} s  {about}: {words}"
            for now_s, about, words in self._lines
            if not about or stem in about
        ]

    def digest(self) -> str:
        return hashlib.sha256(repr(self._lines).encode()).hexdigest()[:16]
