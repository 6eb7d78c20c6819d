"""Carries out what the flows command, and says what came of it."""

from collections.abc import Sequence
from typing import Final

from typing_extensions import override

from libs.batching.coalescer import Coalescer
from libs.errors import ErrorKind, FiscError
from libs.saga.driver import Performer
from libs.saga.flow import Command, Signal
from services.clearing.domain import settlement, settling, sweeping
from services.clearing.domain.model import Batch
from services.clearing.domain.settlement import Transfer
from services.clearing.domain.sweeping import HoldAnswer, Sweep, SweepCommand
from services.clearing.usecases.ports import Ledger

# What one PostTransfers takes.
TRANSFERS_PER_CALL_MAX: Final = 1_024
CHAINS_PER_FLUSH_MAX: Final = 512
# A call that ends like this was understood and not carried out; after any other nobody knows.
REFUSING_KINDS: Final = frozenset({ErrorKind.INVALID, ErrorKind.REJECTED})

Chain = Sequence[Transfer]


class BatchPerformer(Performer[Batch, None]):
    """Books batches; many share one call. `coalescer` must be started by its owner."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.coalescer = Coalescer[Chain, Signal](
            self._flush, name="ledger-post", items_max=CHAINS_PER_FLUSH_MAX
        )

    @override
    async def __call__(self, command: Command, subject: Batch, attempt: None) -> Signal:
        """Posted, Refused or PostUnknown. A batch that moves nothing is posted by saying so."""
        chain = settlement.batch_transfers(subject)
        if not chain:
            return settling.Posted()
        try:
            return await self.coalescer.submit(chain)
        except FiscError as error:
            return settling.PostUnknown(error.reason)

    async def _flush(self, chains: list[Chain]) -> list[Signal]:
        verdicts: list[Signal] = []
        for part in settlement.packed(chains, TRANSFERS_PER_CALL_MAX):
            verdicts += await self._post(part)
        return verdicts

    async def _post(self, chains: Sequence[Chain]) -> list[Signal]:
        transfers = [transfer for chain in chains for transfer in chain]
        try:
            await self._ledger.open_platform_accounts({each.currency for each in transfers})
            booked = await self._ledger.post(transfers)
        except FiscError as error:
            if error.kind not in REFUSING_KINDS:
                return [settling.PostUnknown(error.reason)] * len(chains)
            if len(chains) == 1:
                return [settling.Refused(error.reason)]
            # One of them is no proper question; the others shall not wait for it.
            half = len(chains) // 2
            return [*await self._post(chains[:half]), *await self._post(chains[half:])]
        results = {each.transfer_id: each for each in booked}
        return [settling.verdict(chain, results) for chain in chains]


class SweepPerformer(Performer[Sweep, None]):
    """Asks the ledger what a sweep wants to know or to have done."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @override
    async def __call__(self, command: Command, subject: Sweep, attempt: None) -> Signal:
        """The ledger's word, or Silent."""
        asked = SweepCommand(command)
        try:
            if asked is SweepCommand.READ:
                return sweeping.read(
                    subject, await self._ledger.standing(subject.source_account_id)
                )
            return sweeping.answered(asked, subject, await self._ask(asked, subject))
        except FiscError as error:
            if error.kind in REFUSING_KINDS:
                return sweeping.Refused(asked, error.reason)
            return sweeping.Silent(error.reason)

    async def _ask(self, asked: SweepCommand, sweep: Sweep) -> HoldAnswer:
        match asked:
            case SweepCommand.HOLD:
                return await self._ledger.place_hold(sweep)
            case SweepCommand.MOVE:
                return await self._ledger.capture_hold(sweep)
            case _:
                return await self._ledger.void_hold(sweep)
