"""What a planted bug is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Patch(Protocol):
    """Puts something in the place of an attribute until the bug is taken out again."""

    def __call__(self, owner: object, name: str, value: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake somebody could make."""

    name: str
    plant: Callable[[Patch], None]


BUGS: list[Bug] = []


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Adds it to the list under its function's name."""
    BUGS.append(Bug(plant.__name__, plant))
    return plant
