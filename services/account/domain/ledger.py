"""The engine: decides a batch of transfers and holds over the state that was loaded for it.

Pure: the same state, batch and time give the same answer. Items are decided in arrival order. The
order of the checks is part of the contract, for it decides which reason a caller sees:

1. the id: booked with the same content is a replay, with other content names the field;
2. of a reversal: that the original is known, that its sides and currency are as said;
3. the amount, the effective date and its window, both sides apart;
4. that the accounts exist, their currency, their book, their state; the debited one first;
5. of a balancing transfer, that there is something to move; of a reversal, that so much is left;
6. floor, ceiling and overflow, of the debited account first.

What a chain fails of is the first refusal in it; the others answer LINKED_FAILED.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import TypeVar

from services.account.domain import errors, holds, transfers
from services.account.domain.batch import Book, Decision
from services.account.domain.commands import Command, Hold, PlaceHold, Transfer, Verdict
from services.account.domain.work import Window, Work

Linkable = TypeVar("Linkable", bound=Transfer | PlaceHold)

WIDE = Window()


def check_chains(linkable: Sequence[Transfer | Hold], field: str = "transfers") -> None:
    """Raise ChainOpen if the last one waits for one that does not come."""
    if linkable and linkable[-1].linked:
        raise errors.ChainOpen(field=f"{field}[{len(linkable) - 1}].linked")


def decide(
    book: Book,
    commands: Sequence[Command],
    *,
    now: datetime,
    booking_day: date,
    window: Window = WIDE,
) -> Decision:
    """Decide the commands in order; linked ones that follow one another pass or fail as one.

    `booking_day` is the effective date of transfers that name none. Raises nothing: every refusal
    is a verdict.
    """
    work = Work(book, now, booking_day, window)
    verdicts: list[Verdict] = []
    position = 0
    while position < len(commands):
        command = commands[position]
        if isinstance(command, Transfer):
            if command.linked and len(chain := _chain_at(commands, position, Transfer)) > 1:
                verdicts += transfers.post_chain(work, chain)
                position += len(chain)
                continue
            verdicts.append(transfers.post(work, command))
        elif isinstance(command, PlaceHold) and command.hold.linked:
            placing = _chain_at(commands, position, PlaceHold)
            verdicts += holds.place_chain(work, placing)
            position += len(placing)
            continue
        else:
            verdicts.append(holds.handle(work, command))
        position += 1
    return work.decision(verdicts)


def _chain_at(commands: Sequence[Command], position: int, kind: type[Linkable]) -> list[Linkable]:
    chain: list[Linkable] = []
    for command in commands[position:]:
        if not isinstance(command, kind):
            break
        chain.append(command)
        if not _is_linked(command):
            break
    return chain


def _is_linked(command: Transfer | PlaceHold) -> bool:
    return command.linked if isinstance(command, Transfer) else command.hold.linked
