"""What bounds the wait for a peer: a breaker, since one that does not answer is left alone."""

from typing import Final

from libs.resilience.breaker import Breaker

# A call carries a whole batch and may wait for seconds: few are needed to know.
CONSECUTIVE_FAILURES_MAX: Final = 3
OPEN_S: Final = 2.0


def breaker(peer: str) -> Breaker:
    """Its breaker; the name labels the metrics."""
    return Breaker(peer, consecutive_failures_max=CONSECUTIVE_FAILURES_MAX, open_s=OPEN_S)
