"""The real account service behind a line that a test may cut: before it hears, after it has answered, or for a while."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from typing_extensions import override

from fisc.account.v1 import account_pb2 as pb
from libs.errors import ErrorKind, RemoteError
from services.account.handlers.servicer import AccountServicer

Request = TypeVar("Request")
Response = TypeVar("Response")


class LossyLedger(AccountServicer):
    """Methods by their names, as in "PostTransfers"."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: Counter[str] = Counter()
        self.lost_answers: Counter[str] = Counter()
        """So many more calls of a method are carried out, and their answers lost."""
        self.deaf: set[str] = set()
        """Methods that are not heard."""
        self.gates: dict[str, asyncio.Event] = {}
        """A method's call waits for its gate to open, and is carried out then."""
        self.transfers_counts: list[int] = []
        """How many transfers each PostTransfers had."""

    @override
    async def GetBalances(self, request: pb.GetBalancesRequest, context: Any) -> Any:
        return await self._over_the_line("GetBalances", super().GetBalances, request, context)

    @override
    async def PostTransfers(self, request: pb.PostTransfersRequest, context: Any) -> Any:
        self.transfers_counts.append(len(request.transfers))
        return await self._over_the_line("PostTransfers", super().PostTransfers, request, context)

    @override
    async def PlaceHolds(self, request: pb.PlaceHoldsRequest, context: Any) -> Any:
        return await self._over_the_line("PlaceHolds", super().PlaceHolds, request, context)

    @override
    async def CaptureHolds(self, request: pb.CaptureHoldsRequest, context: Any) -> Any:
        return await self._over_the_line("CaptureHolds", super().CaptureHolds, request, context)

    @override
    async def VoidHolds(self, request: pb.VoidHoldsRequest, context: Any) -> Any:
        return await self._over_the_line("VoidHolds", super().VoidHolds, request, context)

    async def _over_the_line(
        self,
        name: str,
        method: Callable[[Request, Any], Awaitable[Response]],
        request: Request,
        context: Any,
    ) -> Response:
        self.calls[name] += 1
        if name in self.deaf:
            raise RemoteError("not heard", kind=ErrorKind.UNAVAILABLE, reason="LINE_CUT")
        if name in self.gates:
            await self.gates[name].wait()
        response = await method(request, context)
        if self.lost_answers[name] > 0:
            self.lost_answers[name] -= 1
            raise RemoteError("answer lost", kind=ErrorKind.UNAVAILABLE, reason="LINE_CUT")
        return response
