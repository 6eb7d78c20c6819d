"""Ids that say what they name and sort by when they were made: `pay_01jd8…`.

The part after the prefix is a ULID (48 bits of milliseconds, 80 bits of randomness) in lower-case
Crockford base 32, as described at https://github.com/ulid/spec. Ids are not secrets.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Protocol

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_BITS_PER_CHARACTER = 5
_RANDOM_BITS = 80
_ULID_LENGTH = 26
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class IdSource(Protocol):
    """Where new ids come from."""

    def new(self, prefix: str) -> str:
        """Return a fresh id that starts with `prefix` and an underscore."""
        ...


class _WallClock(Protocol):
    def now(self) -> datetime: ...


class _RandomBits(Protocol):
    def getrandbits(self, k: int, /) -> int: ...


class SortableIds:
    """Ids that ascend within one process, whatever its clock does, and never repeat in practice."""

    def __init__(self, clock: _WallClock, rng: _RandomBits) -> None:
        """Take the time from `clock` and randomness from `rng` (`random.SystemRandom()` live)."""
        self._clock = clock
        self._rng = rng
        self._last = -1

    def new(self, prefix: str) -> str:
        """Return a fresh id, greater than every earlier one of this source."""
        milliseconds = (self._clock.now() - _EPOCH) // _MILLISECOND
        value = (milliseconds << _RANDOM_BITS) | self._rng.getrandbits(_RANDOM_BITS)
        # Within one millisecond, or after the clock stepped back, counting on keeps the order.
        self._last = max(value, self._last + 1)
        return f"{prefix}_{_encode(self._last)}"


class SequentialIds:
    """A fake for tests: counts from 1 for each prefix, `pay_00000000000000000000000001`."""

    def __init__(self) -> None:
        """Start every prefix at 1."""
        self._count: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        """Return the next id of this prefix."""
        self._count[prefix] += 1
        return f"{prefix}_{self._count[prefix]:0{_ULID_LENGTH}d}"


def _encode(value: int) -> str:
    characters = []
    for _ in range(_ULID_LENGTH):
        characters.append(_ALPHABET[value & 0x1F])
        value >>= _BITS_PER_CHARACTER
    return "".join(reversed(characters))
