"""Running a command's work, and saying how it went by its exit code."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import typer

from deploy.local.errors import LocalError

INTERRUPTED: Final = 130
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *, when_interrupted: int = INTERRUPTED) -> T:
    """Run to the end; a LocalError becomes its message and exit code 1."""
    try:
        return asyncio.run(work)
    except LocalError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(when_interrupted) from error
