"""Short words for calls to a service under test."""

from typing import Final, TypeVar

import grpc
import pytest

from libs.errors import RemoteError
from libs.rpc import client

TIMEOUT_S: Final = 20.0

Request = TypeVar("Request")
Response = TypeVar("Response")


class Caller:
    """Calls with a deadline, as one service calls another."""

    async def call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        """Call, or raise RemoteError."""
        return await client.call(method, request, timeout_s=TIMEOUT_S)

    async def refusal(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> RemoteError:
        """The error that a call must end with."""
        with pytest.raises(RemoteError) as caught:
            await self.call(method, request)
        return caught.value
