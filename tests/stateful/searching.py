"""How long hypothesis looks for a story that breaks a promise: FISC_STATEFUL_EXAMPLES=20000 makes a night of it."""

import os
from collections.abc import Callable
from typing import Final, cast

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

EXAMPLES_VARIABLE: Final = "FISC_STATEFUL_EXAMPLES"
EXAMPLES_DEFAULT: Final = 250
STEPS_MAX: Final = 40
# A database on a disk answers ten times slower than one in memory.
SHARE_OF_POSTGRES: Final = 10


def in_memory() -> settings:
    """Every example that is wished for."""
    return _settings(int(os.environ.get(EXAMPLES_VARIABLE, EXAMPLES_DEFAULT)))


def on_postgres() -> settings:
    """A share of them."""
    return _settings(max(1, in_memory().max_examples // SHARE_OF_POSTGRES))


def run_machine(machine: Callable[[], RuleBasedStateMachine], how_long: settings) -> None:
    """Lets hypothesis look for a story in which a machine's promises break."""
    # Any callable that makes a machine will do; its type says "a class".
    run_state_machine_as_test(cast(type[RuleBasedStateMachine], machine), settings=how_long)


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS_MAX,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
