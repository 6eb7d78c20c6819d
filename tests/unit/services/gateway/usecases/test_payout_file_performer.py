"""Which rows of a payout file are looked at: those on their way while it is paid, those that left once it has ended."""

from dataclasses import replace
from typing import Any, cast

import pytest

from services.gateway.domain.payout_file import Command, FileState, RowEnd, RowState, Settled
from services.gateway.usecases.payout_file_performer import PayoutFilePerformer
from tests.unit.services.gateway.domain.test_payout_file_flow import PAYING


class Store:
    """Knows one row in each state that has moved."""

    async def moved_rows(
        self, file_id: str, state: RowState, after: int, limit: int
    ) -> tuple[list[RowEnd], int]:
        end = RowState.SUCCEEDED if state is RowState.OPEN else RowState.RETURNED
        row = RowEnd(row_number=1, amount_minor=100, state=end, before=state, payout_id="p")
        return [row], 0


@pytest.mark.parametrize(
    ("state", "before"),
    [
        (FileState.PAYING, RowState.OPEN),
        (FileState.PAUSED, RowState.OPEN),
        (FileState.CANCELING, RowState.OPEN),
        (FileState.COMPLETED, RowState.SUCCEEDED),
        # What had started before the file was canceled has left, and banks may send it back.
        (FileState.CANCELED, RowState.SUCCEEDED),
    ],
)
async def test_the_rows_that_can_still_move_are_looked_at(
    state: FileState, before: RowState
) -> None:
    nobody = cast("Any", None)
    perform = PayoutFilePerformer(store=cast("Any", Store()), merchants=nobody, payouts=nobody)

    signal = await perform(Command.SETTLE, replace(PAYING, state=state), None)

    assert isinstance(signal, Settled)
    assert [row.before for row in signal.rows] == [before]
