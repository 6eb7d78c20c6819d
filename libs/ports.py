"""What a process says, and how it ends, when it cannot have a port."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

EXIT_PORT_TAKEN: Final = 2


@contextlib.contextmanager
def needed(service: str, host: str, port: int) -> Iterator[None]:
    """Listen on this port inside; an OSError there ends the process with a message and status 2."""
    try:
        yield
    except OSError as error:
        sys.stderr.write(
            f"{service}: cannot listen on {host}:{port}; another process has this port "
            f"or the address is not ours ({error})\n"
        )
        raise SystemExit(EXIT_PORT_TAKEN) from error
