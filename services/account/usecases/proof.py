"""Proving that nothing booked was changed, in pages, while the ledger goes on."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from services.account.domain import proof, seals
from services.account.domain.accounts import Balance
from services.account.domain.proof import Statement
from services.account.domain.seals import Batch, Head
from services.account.store import Store

BATCHES_PER_PAGE_MAX = 1_000
TRANSFERS_PER_PAGE_MAX = 20_000
ACCOUNTS_PER_PAGE_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the proof has come, and, once it is done, what it found ("" for nothing)."""

    batches_count: int = 0
    transfers_count: int = 0
    accounts_count: int = 0
    is_done: bool = False
    broken: str = ""
    heads: Sequence[Head] = ()


class Proof:
    """Walks the chains and the accounts. Holds a page of rows in memory, whatever the ledger's size."""

    def __init__(self, store: Store) -> None:
        """Use the store."""
        self._store = store

    async def verify(self, *, batches_only: bool = False) -> AsyncIterator[Progress]:
        """Prove what is booked by now; the last progress is done and says what is broken first."""
        progress = Progress(heads=await self._store.get_heads())
        async for step in self._walk(progress, batches_only=batches_only):
            progress = step
            yield progress
            if progress.is_done:
                return
        yield replace(progress, is_done=True)

    async def _walk(self, start: Progress, *, batches_only: bool) -> AsyncIterator[Progress]:
        """Go through everything; a progress that is done says what is broken."""
        progress = start
        for head in start.heads:
            async for step in self._verify_chain(head, progress):
                progress = step
                yield progress
        if unsealed := await self._store.count_unsealed():
            yield replace(progress, is_done=True, broken=f"{unsealed} transfers are in no batch")
            return
        if not batches_only:
            async for step in self._verify_accounts(progress):
                yield step

    async def _verify_chain(self, until: Head, progress: Progress) -> AsyncIterator[Progress]:
        head = Head(chain=until.chain)
        while head.number < until.number:
            batches = await self._store.list_batches(
                until, after=head.number, limit=BATCHES_PER_PAGE_MAX
            )
            for page in _pages(batches):
                sealed = await self._store.list_sealed(
                    until.chain, first=page[0].number, last=page[-1].number
                )
                for batch in page:
                    booked = sealed.get(batch.number, [])
                    if fault := seals.fault(head, batch, booked):
                        yield replace(progress, is_done=True, broken=fault)
                        return
                    head = Head(chain=batch.chain, number=batch.number, hash=batch.hash)
                    progress = replace(
                        progress,
                        batches_count=progress.batches_count + 1,
                        transfers_count=progress.transfers_count + len(booked),
                    )
                yield progress
            if not batches:
                missing = f"batch {head.chain}:{head.number + 1} is missing"
                yield replace(progress, is_done=True, broken=missing)
                return
        if head.hash != until.hash:
            fault = f"the head of chain {head.chain} is not its last batch"
            yield replace(progress, is_done=True, broken=fault)

    async def _verify_accounts(self, progress: Progress) -> AsyncIterator[Progress]:
        after = ""
        while balances := await self._store.list_balances(after=after, limit=ACCOUNTS_PER_PAGE_MAX):
            after = balances[-1].account_id
            for group in _groups(balances):
                if fault := await self._account_fault(group):
                    yield replace(progress, is_done=True, broken=fault)
                    return
                progress = replace(progress, accounts_count=progress.accounts_count + len(group))
                yield progress

    async def _account_fault(self, balances: Sequence[Balance]) -> str:
        """Add up the statements, as far as the balances go: what came since is not theirs."""
        statements = {each.account_id: Statement(balance=each) for each in balances}
        longest = max(each.sequence for each in balances)
        step = max(1, TRANSFERS_PER_PAGE_MAX // len(balances))
        for after in range(0, longest, step):
            account_ids = [each.account_id for each in balances if each.sequence > after]
            until = after + step
            legs = await self._store.list_legs(account_ids, after=after, until=until)
            known = (
                leg for leg in legs if leg.sequence <= statements[leg.account_id].balance.sequence
            )
            if fault := proof.first_fault(statements, known):
                return fault
        return next(filter(None, (each.last_fault() for each in statements.values())), "")


def _pages(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Divide batches so that the transfers of each part fit into memory."""
    pages: list[list[Batch]] = []
    count = TRANSFERS_PER_PAGE_MAX
    for batch in batches:
        if not pages or count + batch.transfers_count > TRANSFERS_PER_PAGE_MAX:
            pages.append([])
            count = 0
        pages[-1].append(batch)
        count += batch.transfers_count
    return pages


def _groups(balances: Sequence[Balance]) -> list[list[Balance]]:
    """Divide accounts so that short ones share a query, and a long one has its own."""
    groups: list[list[Balance]] = []
    count = TRANSFERS_PER_PAGE_MAX
    for balance in balances:
        if not groups or count + balance.sequence > TRANSFERS_PER_PAGE_MAX:
            groups.append([])
            count = 0
        groups[-1].append(balance)
        count += balance.sequence
    return groups
