"""What can go wrong while the local suite runs; each message says what the operator can do."""


class LocalError(Exception):
    """The local suite cannot go on; the message is meant for the person at the terminal."""


class PortTakenError(LocalError):
    """Another program listens on a port the suite needs."""

    def __init__(self, host: str, port: int, purpose: str) -> None:
        super().__init__(
            f"Port {port} on {host}, wanted for {purpose}, is taken by another program. "
            "Stop that program, or move every port of the suite with FISC_BASE_PORT=<number>."
        )
        self.port = port


class BinariesMissingError(LocalError):
    """No usable server program was found; the message lists where it was looked for."""


class DataDirInUseError(LocalError):
    """Another suite holds the data directory."""


class ProgramFailedError(LocalError):
    """A program died, or was not ready in time; the message ends with the tail of its log."""
