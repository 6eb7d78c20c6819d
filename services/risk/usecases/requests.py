"""One effect a request_id: a repetition finds what was made first, another content is refused."""

import hashlib
from typing import Any

import orjson

from services.risk.domain import errors
from services.risk.store.database import RecordedRequest, Transaction


def fingerprint(content: Any) -> str:
    """A digest of a request's content: dataclasses, enums, texts, numbers, times."""
    return hashlib.sha256(orjson.dumps(content)).hexdigest()


async def made_before(
    transaction: Transaction, rpc: str, request_id: str, content_digest: str
) -> str | None:
    """The resource made under this request_id before, None if it is new. Raises RequestIdReused."""
    recorded: RecordedRequest | None = await transaction.request(rpc, request_id)
    if recorded is None:
        return None
    if recorded.fingerprint != content_digest:
        raise errors.RequestIdReused(field="request_id")
    return recorded.resource_id
