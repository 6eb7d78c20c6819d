"""Payout files for tests: their text, and short words for sending and following them."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from fisc.gateway.v1 import bulk_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House

F = bulk_pb2.PayoutFile
R = bulk_pb2.PayoutFileRow
HEADER = "ref,amount,payee_account,payee_name,description\n"
ENDED = (F.STATE_COMPLETED, F.STATE_REFUSED, F.STATE_CANCELED)


def line(number: int, *, amount: str = "1.00", account: str = "", ref: str = "") -> str:
    """One good row, unless told otherwise."""
    return f"{ref or f'r-{number}'},{amount},{account or f'62220000{number:08}'},payee {number},salary\n"


def paper(count: int) -> bytes:
    """A file of good rows of one yuan each, unlike any other."""
    rows = [line(number) for number in range(1, count + 1)]
    rows[0] = line(1, ref=f"r-{secrets.token_hex(8)}")
    return (HEADER + "".join(rows)).encode()


def declaration(data: bytes, rows: int, sum_minor: int, **fields: Any) -> Any:
    wanted = {
        "request_id": secrets.token_hex(8),
        "name": "salaries",
        "currency": "CNY",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).digest(),
        "rows_count": rows,
        "sum_minor": sum_minor,
        **fields,
    }
    return bulk_pb2.CreatePayoutFileRequest(**wanted)


async def declare(house: House, request: Any) -> bulk_pb2.PayoutFile:
    made = await house.files.CreatePayoutFile(request, timeout=TIMEOUT_S, metadata=house.key)
    return made.payout_file


async def upload(house: House, file_id: str, offset: int, data: bytes) -> bulk_pb2.PayoutFile:
    sent = await house.files.UploadPayoutFile(
        bulk_pb2.UploadPayoutFileRequest(payout_file_id=file_id, offset_bytes=offset, data=data),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return sent.payout_file


async def send(
    house: House, data: bytes, rows: int, sum_minor: int, **fields: Any
) -> bulk_pb2.PayoutFile:
    """Declares a file and uploads it in one chunk."""
    made = await declare(house, declaration(data, rows, sum_minor, **fields))
    return await upload(house, made.payout_file_id, 0, data)


async def get(house: House, file_id: str) -> bulk_pb2.PayoutFile:
    found = await house.files.GetPayoutFile(
        bulk_pb2.GetPayoutFileRequest(payout_file_id=file_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return found.payout_file


async def reached(
    house: House, file_id: str, *states: Any, timeout_s: float = 40.0
) -> bulk_pb2.PayoutFile:
    """The file once it is in one of these states."""

    async def is_there() -> bulk_pb2.PayoutFile | None:
        file = await get(house, file_id)
        return file if file.state in states else None

    found = await eventually(is_there, timeout_s)
    assert found is not None
    return found


async def rows_of(
    house: House, file_id: str, after: int = 0, *, only_bad: bool = False
) -> Sequence[bulk_pb2.PayoutFileRow]:
    request = bulk_pb2.StreamPayoutFileRowsRequest(
        payout_file_id=file_id, after_row_number=after, only_bad=only_bad
    )
    stream = house.files.StreamPayoutFileRows(request, timeout=TIMEOUT_S, metadata=house.key)
    return [row async for page in stream for row in page.rows]
