"""One figure of the bench, and how all of them are written down and shown."""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

OUTPUT = Path("build/bench.json")

Row: TypeAlias = dict[str, Any]


def row(name: str, value: float, unit: str, method: str, baseline: float | None = None) -> Row:
    """A figure as build/bench.json has it; `ratio` is against a baseline of the same run."""
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": None if baseline is None else round(baseline, 3),
        "ratio": None if not baseline else round(value / baseline, 4),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "method": method,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def show(rows: Iterable[Row]) -> None:
    """One line a figure."""
    for each in rows:
        ratio = "" if each["ratio"] is None else f"{each['ratio']:.3f}"
        line = f"{each['name']:34} {each['value']:12.2f} {each['unit']:16} {ratio:>8}"
        print(f"{line}  {each['method']}", flush=True)


def write(rows: Sequence[Row]) -> None:
    """All figures of this run, in place of those of the last."""
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"written to {OUTPUT}")
