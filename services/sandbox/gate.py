"""What every provider request passes: the standing faults and the channel's thinking time."""

import asyncio

import prometheus_client
from starlette.responses import Response

from services.sandbox import transport
from services.sandbox.fate import Fate
from services.sandbox.faults import FaultBoard
from services.sandbox.records import Account

# The gate's own codes; a provider says them in its own words.
RATE_LIMITED, SYSTEM_ERROR = "RATE_LIMITED", "SYSTEM_ERROR"
HIDING_FAULTS = ("timeout_after_charge", "commit_then_error")

requests_total = prometheus_client.Counter(
    "fisc_sandbox_requests", "Requests by provider, operation and HTTP status.",
    ["provider", "operation", "status"],
)  # fmt: skip


class Failing(Exception):
    """The request ends here with an error status and the provider's code for it."""

    def __init__(
        self, status: int, code: str, message: str, detail: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail

    def body(self) -> dict[str, object]:
        """The error as JSON: code, message, and detail where there is one."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        return body | {"detail": self.detail} if self.detail else body


class Gone(Exception):
    """The request ends without an answer of HTTP."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Gate:
    """Faults before and after the deed, in one place for all providers."""

    def __init__(self, faults: FaultBoard, fate: Fate) -> None:
        self._faults = faults
        self._fate = fate

    async def enter(self, account: Account, operation: str, out_ref: str) -> None:
        """Nothing has been done yet. Raises Gone (down) or Failing (5xx, rate limit); or waits."""
        who = (account.account_id,)
        if self._faults.take(*who, "down", operation, out_ref):
            raise Gone(transport.HangUp())
        if slow := self._faults.take(*who, "slow", operation, out_ref):
            await asyncio.sleep(slow.latency_ms / 1000)
        if self._faults.take(*who, "error_5xx", operation, out_ref):
            raise Failing(500, SYSTEM_ERROR, "system error, nothing was done")
        if self._faults.take(*who, "rate_limited", operation, out_ref):
            raise Failing(429, RATE_LIMITED, "too many requests, nothing was done")
        await asyncio.sleep(self._fate.latency_s(account, out_ref, operation))

    def hidden(self, account: Account, operation: str, out_ref: str) -> str:
        """The fault, if any, that will hide this deed from the caller; it is used up."""
        for fault in HIDING_FAULTS:
            if self._faults.take(account.account_id, fault, operation, out_ref):
                return fault
        return ""

    def leave(self, fault: str) -> None:
        """The deed is in the book. Raises what the hiding fault shows instead of the answer."""
        if fault == "timeout_after_charge":
            raise Gone(transport.NeverAnswer())
        if fault == "commit_then_error":
            raise Failing(500, SYSTEM_ERROR, "system error after the deed was done")

    def spoils_signature(self, account: Account, what: str, out_ref: str) -> bool:
        """Whether this answer (or callback) goes out with a bad signature."""
        return self._faults.take(account.account_id, "bad_signature", what, out_ref) is not None
