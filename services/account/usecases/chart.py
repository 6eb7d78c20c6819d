"""The chart of accounts and what it shows: balances, statements, the trial balance."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

from libs.clock import Clock
from libs.errors import FiscError
from libs.paging import InvalidPageToken, Page, PageRequest
from services.account.domain import accounts, changes, errors, texts
from services.account.domain.accounts import (
    Account,
    Balance,
    Entry,
    PastBalance,
    Role,
    SubtreeLine,
    TrialBalance,
)
from services.account.domain.changes import Change, ChangeVerdict
from services.account.store import Overtaken, Store
from services.account.usecases.proof import Progress, Proof

TRIES_MAX = 5
SEQUENCE_DIGITS_MAX = 18
ENTRIES_PER_PART = 1_000


class Chart:
    """Opens accounts and answers questions about them; each answer is one snapshot."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Use the store; the clock dates the openings."""
        self._store = store
        self._clock = clock

    async def open_accounts(self, requested: Sequence[Account]) -> Sequence[Account | FiscError]:
        """Open accounts, or return those that stand as described. Idempotent by account id."""
        texts.check_items("accounts", requested)
        asked = [replace(account, opened_at=self._clock.now()) for account in requested]
        named = {account.account_id for account in asked} | {account.parent_id for account in asked}
        for _ in range(TRIES_MAX):
            try:
                async with self._store.writing() as writer:
                    opening = accounts.open_accounts(await writer.get_accounts(named), asked)
                    if opening.opened:
                        await writer.insert_accounts(opening.opened)
                    return opening.results
            except Overtaken:
                continue
        raise errors.LostRace(retry_after_s=0.1)

    async def change_accounts(
        self, request_id: str, requested: Sequence[Change]
    ) -> Sequence[ChangeVerdict]:
        """Freeze, close, reopen or bound accounts. Idempotent by request id and account."""
        texts.check("request_id", request_id)
        texts.check_items("changes", requested)
        for _ in range(TRIES_MAX):
            try:
                async with self._store.writing() as writer:
                    known, balances = await writer.load_changes(
                        request_id, {change.account_id for change in requested}
                    )
                    changing = changes.change_accounts(
                        known, balances, requested, request_id=request_id, now=self._clock.now()
                    )
                    if changing.records:
                        await writer.save_changes(changing)
                    return changing.verdicts
            except Overtaken:
                continue
        raise errors.LostRace(retry_after_s=0.1)

    async def get_account(self, account_id: str) -> tuple[Account, Balance]:
        """Return the account and its balance, or raise AccountNotFound."""
        texts.check("account_id", account_id)
        found = await self._store.get_account(account_id)
        if found is None:
            raise errors.AccountNotFound(field="account_id", account_id=account_id)
        return found

    async def list_accounts(
        self, *, owner_id: str, role: Role | None, page: PageRequest
    ) -> Page[tuple[Account, Balance]]:
        """Page through accounts by id; an empty or absent filter means all. Raises InvalidPageToken."""
        texts.check("owner_id", owner_id)
        page = page.about("accounts", owner_id, role or "")
        found = await self._store.list_accounts(
            after=page.after, owner_id=owner_id, role=role or "", limit=page.limit
        )
        return page.page(found, lambda row: row[0].account_id)

    async def get_balances(self, account_ids: Sequence[str]) -> list[Balance]:
        """Return the balances of those accounts that exist, in the order asked."""
        for position, account_id in enumerate(account_ids):
            texts.check(f"account_ids[{position}]", account_id)
        balances = await self._store.get_balances(set(account_ids))
        return [balances[account_id] for account_id in account_ids if account_id in balances]

    async def get_balances_at_time(
        self, account_ids: Sequence[str], at: datetime
    ) -> list[PastBalance]:
        """Return how those accounts that exist stood at a moment, in the order asked."""
        for position, account_id in enumerate(account_ids):
            texts.check(f"account_ids[{position}]", account_id)
        balances = await self._store.get_balances_at_time(set(account_ids), at)
        return [balances[account_id] for account_id in account_ids if account_id in balances]

    async def get_balance_at_sequence(self, account_id: str, sequence: int) -> list[PastBalance]:
        """Return how an account stood after an entry (its last, if it is beyond); [] for no account."""
        texts.check("account_ids[0]", account_id)
        standing = await self._store.get_balances({account_id})
        if account_id not in standing:
            return []
        sequence = min(sequence, standing[account_id].sequence)
        return list((await self._store.get_balances_at({account_id: sequence})).values())

    async def list_closing_balances(self, day_text: str, page: PageRequest) -> Page[PastBalance]:
        """Page through a closed day. Raises DayNotClosed, InvalidDay, InvalidPageToken."""
        try:
            day = date.fromisoformat(day_text)
        except ValueError as error:
            raise errors.InvalidDay(field="day") from error
        page = page.about("closing", day_text)
        if not await self._store.closing.is_closed(day):
            raise errors.DayNotClosed(field="day")
        found = await self._store.closing.list_balances(day, after=page.after, limit=page.limit)
        return page.page(found, lambda balance: balance.account_id)

    async def get_subtree(self, account_id: str) -> Sequence[SubtreeLine]:
        """Sum an account and all that roll up to it. Raises AccountNotFound."""
        texts.check("account_id", account_id)
        lines = await self._store.sum_subtree(account_id)
        if not lines:
            raise errors.AccountNotFound(field="account_id", account_id=account_id)
        return lines

    async def stream_entries(
        self,
        account_id: str,
        *,
        after: int,
        until: int,
        after_time: datetime | None,
        until_time: datetime | None,
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield a statement as it stands now, page by page; 0 for no end. Raises AccountNotFound."""
        _, balance = await self.get_account(account_id)
        until = min(until or balance.sequence, balance.sequence)
        if until_time is not None:
            found = await self._store.get_balances_at_time({account_id}, until_time)
            until = min(until, found[account_id].sequence)
        if after_time is not None:
            found = await self._store.get_balances_at_time({account_id}, after_time)
            after = max(after, found[account_id].sequence)
        while after < until:
            entries = await self._store.list_entries(
                account_id, after=after, until=until, limit=ENTRIES_PER_PART
            )
            if not entries:
                return
            yield entries
            after = entries[-1].sequence

    async def list_entries(self, account_id: str, page: PageRequest) -> Page[Entry]:
        """Page through a statement, oldest first. Raises AccountNotFound, InvalidPageToken."""
        page = page.about("entries", account_id)
        after = _sequence(page.after)
        await self.get_account(account_id)
        found = await self._store.list_entries(account_id, after=after, limit=page.limit)
        return page.page(found, lambda entry: str(entry.sequence))

    async def get_trial_balance(self, currency: str) -> TrialBalance:
        """Sum every account by role and currency; "" means every currency."""
        texts.check("currency", currency)
        return TrialBalance(lines=await self._store.sum_balances(currency))

    def verify(self, *, batches_only: bool) -> AsyncIterator[Progress]:
        """Prove that nothing booked was changed; see Proof."""
        return Proof(self._store).verify(batches_only=batches_only)

    async def get_imbalances(self) -> Mapping[str, int]:
        """Debits minus credits of the whole ledger, in minor units by currency: 0 if it is sound."""
        return await self._store.sum_imbalances()


def _sequence(key: str) -> int:
    """Where a page of numbered rows ended, 0 for the first page. Raises InvalidPageToken."""
    if not key:
        return 0
    if not (key.isascii() and key.isdecimal() and len(key) <= SEQUENCE_DIGITS_MAX):
        raise InvalidPageToken(field="page_token")
    return int(key)
