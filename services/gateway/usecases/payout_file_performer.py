"""Carries out what a payout file's flow orders: reads a piece, pays a part, looks how rows have ended. Each in bounded memory and time."""

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

import orjson

from libs import crashpoints
from libs.errors import FiscError
from libs.rpc import deadline
from libs.saga import flow
from libs.saga.flow import Signal
from services.gateway.domain import method, payout_file, payout_rows
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.payout import Payout
from services.gateway.domain.payout_file import (
    ENDED,
    Checked,
    Command,
    PayoutFile,
    RowEnd,
    RowState,
    Settled,
    Taken,
    Unreadable,
)
from services.gateway.domain.payout_file_flow import SETTLE_ROWS
from services.gateway.domain.payout_rows import HeaderInvalid, Position, Row
from services.gateway.store.payout_files import CHUNK_BYTES_MAX, PayoutFileStore
from services.gateway.usecases.payouts import PayoutRequest, Payouts

# A piece of a file is judged without a pause: it must not hold the event loop up for long.
PIECE_BYTES_MAX: Final = 256 << 10
PIECE_LINES_MAX: Final = 500
# How long a part is waited for; what has not ended by then is looked at later. Well below the lease of a step.
PART_WAIT_S: Final = 2.0


class Merchants(Protocol):
    async def get_merchant(self, merchant_id: str) -> Merchant | None: ...


class PayoutFilePerformer:
    """One process's. Any number of files at once."""

    def __init__(self, *, store: PayoutFileStore, merchants: Merchants, payouts: Payouts) -> None:
        self._store = store
        self._merchants = merchants
        self._payouts = payouts

    async def __call__(
        self,
        command: flow.Command,
        subject: PayoutFile,
        attempt: None,  # noqa: ARG002 - files have none
    ) -> Signal:
        if command is Command.CHECK:
            return await self._check(subject)
        if command is Command.PAY:
            return await self._pay(subject)
        return await self._settle(subject)

    async def _check(self, file: PayoutFile) -> Signal:
        if file.checked_bytes == 0 and await self._sha256(file) != file.sha256:
            return Unreadable(
                reason="CHECKSUM_MISMATCH", detail="the content is not what sha256 declared"
            )
        data = await self._store.read_bytes(
            file.payout_file_id, file.checked_bytes, PIECE_BYTES_MAX
        )
        try:
            piece = payout_rows.read_piece(
                data,
                Position(
                    lines_count=file.checked_lines,
                    rows_count=file.rows_count,
                    columns=file.columns,
                    is_in_long_line=file.is_in_long_line,
                ),
                encoding=file.encoding,
                currency=file.currency,
                is_last=file.checked_bytes + len(data) == file.size_bytes,
                lines_max=PIECE_LINES_MAX,
            )
        except HeaderInvalid as error:
            return Unreadable(reason="HEADER_INVALID", detail=str(error))
        refs = [row.ref for row in piece.rows if row.ref]
        known = await self._store.known_refs(file.payout_file_id, refs)
        return Checked(
            rows=payout_rows.without_repeats(piece.rows, known),
            columns=piece.end.columns,
            bytes_count=piece.bytes_count,
            lines_count=piece.end.lines_count - file.checked_lines,
            is_in_long_line=piece.end.is_in_long_line,
        )

    async def _sha256(self, file: PayoutFile) -> str:
        digest = hashlib.sha256()
        for offset_bytes in range(0, file.size_bytes, CHUNK_BYTES_MAX):
            digest.update(
                await self._store.read_bytes(file.payout_file_id, offset_bytes, CHUNK_BYTES_MAX)
            )
        return digest.hexdigest()

    async def _pay(self, file: PayoutFile) -> Signal:
        merchant = await self._merchants.get_merchant(file.merchant_id)
        assert merchant is not None  # noqa: S101 - merchants are never deleted
        part = await self._store.ready_rows(file.payout_file_id, file.taken_row, file.started_row)
        with deadline.within(PART_WAIT_S):
            answers = await self._payouts.create_all(
                merchant, [request_of(file, row) for row in part]
            )
        crashpoints.reach("K21")
        ends = [_row_end(row, answer) for row, answer in zip(part, answers, strict=True)]
        known = tuple(end for end in ends if end is not None)
        return Taken(rows=known, is_whole=len(known) == len(part))

    async def _settle(self, file: PayoutFile) -> Signal:
        # Of what has ended no row is open; those that left may come back.
        state = RowState.SUCCEEDED if file.state in ENDED else RowState.OPEN
        moved, settled_row = await self._store.moved_rows(
            file.payout_file_id, state, file.settled_row, SETTLE_ROWS
        )
        return Settled(rows=tuple(moved), settled_row=settled_row)


def request_of(file: PayoutFile, row: Row) -> PayoutRequest:
    """The payout of a row: the same whenever and by whomever it is made."""
    said: Sequence[object] = (
        row.ref,
        row.amount_minor,
        row.payee_account,
        row.payee_name,
        row.bank_code,
        row.description,
    )
    return PayoutRequest(
        request_id=f"{file.payout_file_id}:{row.row_number}",
        fingerprint=hashlib.sha256(orjson.dumps(said)).hexdigest(),
        amount_minor=row.amount_minor,
        currency=file.currency,
        payee_account=row.payee_account,
        payee_name=row.payee_name,
        payee_bank_code=row.bank_code,
        description=row.description,
        method=method.PAYOUT_DEFAULT,
        routing=file.routing,
    )


def _row_end(row: Row, answer: Payout | FiscError) -> RowEnd | None:
    """How a row stands now; None when it must be tried again."""
    if isinstance(answer, FiscError):
        if answer.kind.retryable:
            return None
        return RowEnd(
            row_number=row.row_number,
            amount_minor=row.amount_minor,
            state=RowState.FAILED,
            before=RowState.READY,
            reason=answer.reason,
        )
    state = payout_file.row_state(answer.state)
    return RowEnd(
        row_number=row.row_number,
        amount_minor=row.amount_minor,
        state=state,
        before=RowState.READY,
        payout_id=answer.payout_id,
        reason="" if state is RowState.OPEN else answer.reason,
    )
