"""The garbage collector of a process that serves."""

import gc
import subprocess
import sys

from libs import memory

CYCLES = 5
SCRIPT = f"""
import gc, weakref
from libs import memory

class Node: pass

memory.settle()
assert gc.get_freeze_count() > 1_000
seen = []
for _ in range({CYCLES} * memory.YOUNG_OBJECTS_MAX):
    node = Node()
    node.itself = node
    if not seen:
        seen.append(weakref.ref(node))
del node
print(seen[0]() is None)
"""


def test_what_is_alive_at_the_start_is_left_in_peace_and_later_cycles_are_still_freed() -> None:
    # In a process of its own: what is frozen stays so.
    script = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True
    )
    assert script.stdout.strip() == "True", script.stderr


def test_the_young_are_looked_at_less_often_than_by_default() -> None:
    assert gc.get_threshold()[0] < memory.YOUNG_OBJECTS_MAX
