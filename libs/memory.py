"""How often a process looks for garbage: rarely, and never at what it was built of."""

import gc
from typing import Final

# Objects born before the youngest are looked at. Python's own 700 are born by a single batch of a ledger, all of
# which die by reference count: the looking had a fifth of a busy service's time and found nothing.
YOUNG_OBJECTS_MAX: Final = 20_000
_ROUNDS: Final = 10


def settle() -> None:
    """Call once, when all modules are loaded: what is alive now stays for good and is left in peace."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, _ROUNDS, _ROUNDS)
