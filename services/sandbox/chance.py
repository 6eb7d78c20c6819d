"""Seeded chance: a pure function of the seed, the account, the reference and the question."""

import hashlib
from collections.abc import Sequence

_SCALE = 2**64


class Chance:
    """Answers "what happens to this reference", always the same for the same reference."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def fraction(self, account_id: str, out_ref: str, question: str) -> float:
        """Uniform in [0, 1)."""
        return self._number(account_id, out_ref, question) / _SCALE

    def between_ms(
        self, account_id: str, out_ref: str, question: str, bounds: tuple[int, int]
    ) -> int:
        """Uniform among the milliseconds from low to high, both included."""
        low, high = bounds
        return low + self._number(account_id, out_ref, question) * (high - low + 1) // _SCALE

    def pick(self, account_id: str, out_ref: str, question: str, options: Sequence[str]) -> str:
        """One of the options."""
        return options[self._number(account_id, out_ref, question) * len(options) // _SCALE]

    def digits(self, account_id: str, out_ref: str, question: str, count: int) -> str:
        """A run of decimal digits, for provider references."""
        return str(self._number(account_id, out_ref, question) % 10**count).zfill(count)

    def _number(self, account_id: str, out_ref: str, question: str) -> int:
        text = f"{self._seed}\x1f{account_id}\x1f{out_ref}\x1f{question}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
