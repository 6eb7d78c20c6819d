"""The demo merchants' own end of a webhook: verifies every delivery, as a merchant should.

Wire format: Standard Webhooks, https://github.com/standard-webhooks/standard-webhooks.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.local import ports
from deploy.local.environment import LocalSettings
from libs import web

PORT_OFFSET: Final = 11
KEY_MARK: Final = "whsec_"
SKEW_MAX_S: Final = 300
OK, UNAUTHORIZED = 200, 401


@dataclass(slots=True, kw_only=True)
class Heard:
    """What has been heard: distinct messages by type, and what did not prove its sender."""

    ids: set[str] = field(default_factory=set)
    by_type: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    refused: int = 0


def url(settings: LocalSettings) -> str:
    """Where the demo's merchants hear; a merchant's id follows."""
    return f"http://{settings.host}:{settings.base_port + PORT_OFFSET}/webhooks"


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Whether one of the signatures in `webhook-signature` is ours over id, time and body."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (message_id and timestamp.isdecimal() and abs(int(timestamp) - now_s) <= SKEW_MAX_S):
        return False
    try:
        key = base64.b64decode(secret.removeprefix(KEY_MARK), validate=True)
    except binascii.Error:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    candidates = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(candidate, f"v1,{expected}") for candidate in candidates)


class Receiver:
    """Answers 200 to a genuine message of a known merchant, 401 to anything else."""

    def __init__(self, secret_of: Callable[[str], str]) -> None:
        self._secret_of = secret_of
        self.heard = Heard()

    def application(self) -> Starlette:
        """The routes, and what has been heard so far under /heard."""
        return Starlette(
            routes=[
                Route("/webhooks/{merchant_id}", self._hear, methods=["POST"]),
                Route("/heard", self._tell, methods=["GET"]),
            ]
        )

    async def _hear(self, request: Request) -> Response:
        secret = self._secret_of(request.path_params["merchant_id"])
        body = await request.body()
        if not secret or not is_genuine(secret, request.headers, body, time.time()):
            self.heard.refused += 1
            return Response(status_code=UNAUTHORIZED)
        message_id = request.headers["webhook-id"]
        if message_id in self.heard.ids:
            self.heard.repeated += 1
            return Response(status_code=OK)
        self.heard.ids.add(message_id)
        self.heard.by_type[str(orjson.loads(body).get("type", ""))] += 1
        return Response(status_code=OK)

    async def _tell(self, _: Request) -> Response:
        content = {
            "messages": len(self.heard.ids),
            "by_type": dict(self.heard.by_type),
            "repeated": self.heard.repeated,
            "refused": self.heard.refused,
        }
        return Response(orjson.dumps(content), media_type="application/json")


@contextlib.asynccontextmanager
async def running(
    settings: LocalSettings, secret_of: Callable[[str], str]
) -> AsyncIterator[Receiver]:
    """Listen for as long as the block lasts. Raises PortTakenError."""
    receiver = Receiver(secret_of)
    port = settings.base_port + PORT_OFFSET
    ports.check_free(settings.host, port, "the webhooks of the demo's merchants")
    options = web.Options(grace_s=1)
    application = receiver.application()
    async with web.running(application, host=settings.host, port=port, options=options):
        yield receiver
