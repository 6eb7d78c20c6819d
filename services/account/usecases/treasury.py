"""Real accounts, who stands on them since when, and whether both agree."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from libs.clock import Clock
from libs.errors import FiscError
from libs.paging import InvalidPageToken, Page, PageRequest
from services.account.domain import errors, mappings, real_accounts, texts
from services.account.domain.mappings import AskedMapping, DatedMapping, MappingVerdict
from services.account.domain.mirrors import Mirror, MirrorAccount
from services.account.domain.real_accounts import (
    RealAccount,
    RealAccountKind,
    RealChange,
    RealChangeVerdict,
)
from services.account.store import Overtaken, Store

TRIES_MAX = 5
REAL_ACCOUNTS_PER_PAGE = 100
# Between the parts of a page's key; no id holds it.
_SEPARATOR = "|"
_FIRST = ("", date.min, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRealAccount:
    """A real account to be made known, with its whole number, which goes no further than here."""

    real_account_id: str
    kind: RealAccountKind
    provider: str
    account_number: str
    holder: str
    currency: str
    tenant_id: str
    display_name: str


class Treasury:
    """Keeps real accounts and mappings, and compares them with the ledger."""

    def __init__(self, store: Store, clock: Clock, *, booking_zone: tzinfo) -> None:
        """Mappings hold for whole days of the booking zone."""
        self._store = store.real
        self._clock = clock
        self._zone = booking_zone

    async def open_real_accounts(
        self, requested: Sequence[AskedRealAccount]
    ) -> Sequence[RealAccount | FiscError]:
        """Make real accounts known, or return those that stand as described. Idempotent by id."""
        texts.check_items("real_accounts", requested)
        for position, each in enumerate(requested):
            if not each.account_number:
                field = f"real_accounts[{position}].account_number"
                raise errors.AccountNumberRequired(field=field)
        asked = [await asyncio.to_thread(self._described, each) for each in requested]
        for _ in range(TRIES_MAX):
            try:
                async with self._store.writing() as writer:
                    known = await writer.lock(
                        {each.real_account_id for each in asked},
                        {each.number_hash for each in asked},
                    )
                    opening = real_accounts.open_real_accounts(known, asked)
                    if opening.opened:
                        await writer.insert(opening.opened)
                    return opening.results
            except Overtaken:
                continue
        raise errors.LostRace(retry_after_s=0.1)

    async def change_real_accounts(
        self, request_id: str, requested: Sequence[RealChange]
    ) -> Sequence[RealChangeVerdict]:
        """Close or reopen real accounts. Idempotent by request id and account."""
        texts.check("request_id", request_id)
        texts.check_items("changes", requested)
        names = {change.real_account_id for change in requested}
        for _ in range(TRIES_MAX):
            try:
                async with self._store.writing() as writer:
                    accounts = {each.real_account_id: each for each in await writer.lock(names)}
                    now = self._clock.now()
                    changing = real_accounts.change_real_accounts(
                        await writer.get_changes(request_id, names),
                        accounts,
                        await writer.get_users(names, self._day(now)),
                        requested,
                        request_id=request_id,
                        now=now,
                    )
                    if changing.records:
                        await writer.save_changes(changing.records)
                    return changing.verdicts
            except Overtaken:
                continue
        raise errors.LostRace(retry_after_s=0.1)

    async def list_real_accounts(self, tenant_id: str, page: PageRequest) -> Page[RealAccount]:
        """Page through real accounts by id; "" for every tenant's. Raises InvalidPageToken."""
        texts.check("tenant_id", tenant_id)
        page = page.about("real_accounts", tenant_id)
        found = await self._store.list_accounts(
            tenant_id=tenant_id, after=page.after, limit=page.limit
        )
        return page.page(found, lambda account: account.real_account_id)

    async def map_accounts(
        self, request_id: str, requested: Sequence[AskedMapping]
    ) -> Sequence[MappingVerdict]:
        """Say on which real accounts virtual ones stand. Idempotent by request id and account."""
        texts.check("request_id", request_id)
        texts.check_items("mappings", requested)
        days = {mappings.parse_day(asked.valid_from) for asked in requested}
        for _ in range(TRIES_MAX):
            try:
                async with self._store.writing() as writer:
                    book = await writer.load_mappings(
                        request_id,
                        {asked.account_id for asked in requested},
                        {asked.real_account_id for asked in requested},
                        {day for day in days if day is not None},
                    )
                    mapped = mappings.map_accounts(
                        book, requested, request_id=request_id, now=self._clock.now()
                    )
                    if mapped.records:
                        await writer.insert_mappings(mapped.records)
                    return mapped.verdicts
            except Overtaken:
                continue
        raise errors.LostRace(retry_after_s=0.1)

    async def list_mappings(
        self, *, account_id: str, real_account_id: str, page: PageRequest
    ) -> Page[DatedMapping]:
        """Page through all that was ever said. Raises InvalidPageToken."""
        texts.check("account_id", account_id)
        texts.check("real_account_id", real_account_id)
        page = page.about("mappings", account_id, real_account_id)
        found = await self._store.list_mappings(
            account_id=account_id,
            real_account_id=real_account_id,
            after=_mapping_key(page.after),
            limit=page.limit,
        )
        return page.page(found, _mapping_text)

    async def get_mirror(self, real_account_id: str, at: datetime | None) -> Mirror:
        """Compare a real account with who stands on it. Raises RealAccountNotFound."""
        texts.check("real_account_id", real_account_id)
        account = await self._store.get(real_account_id)
        if account is None:
            raise errors.RealAccountNotFound(
                field="real_account_id", real_account_id=real_account_id
            )
        return await self._mirror(account, at)

    async def list_mirror_accounts(
        self, real_account_id: str, at: datetime | None, page: PageRequest
    ) -> Page[MirrorAccount]:
        """Page through who stands on a real account, "" for none. Raises RealAccountNotFound."""
        texts.check("real_account_id", real_account_id)
        if real_account_id and await self._store.get(real_account_id) is None:
            raise errors.RealAccountNotFound(
                field="real_account_id", real_account_id=real_account_id
            )
        page = page.about("mirror", real_account_id, at.isoformat() if at else "")
        found = await self._store.list_mirror_accounts(
            real_account_id,
            day=self._day(at or self._clock.now()),
            at=at,
            after=page.after,
            limit=page.limit,
        )
        return page.page(found, lambda account: account.account_id)

    async def stream_mirrors(self, at: datetime | None) -> AsyncIterator[Sequence[Mirror]]:
        """Compare every real account, each in a snapshot of its own; those on none come last."""
        after: str | None = ""
        while after is not None:
            accounts = await self._store.list_accounts(
                tenant_id="", after=after, limit=REAL_ACCOUNTS_PER_PAGE
            )
            for account in accounts:
                yield [await self._mirror(account, at)]
            is_last = len(accounts) < REAL_ACCOUNTS_PER_PAGE
            after = None if is_last else accounts[-1].real_account_id
        now = self._clock.now()
        yield await self._store.sum_mirrors({""}, day=self._day(at or now), at=at, now=now)

    async def _mirror(self, account: RealAccount, at: datetime | None) -> Mirror:
        now = self._clock.now()
        found = await self._store.sum_mirrors(
            {account.real_account_id}, day=self._day(at or now), at=at, now=now
        )
        if found:
            return found[0]
        return Mirror(
            real_account_id=account.real_account_id,
            tenant_id=account.tenant_id,
            currency=account.currency,
            at=at or now,
        )

    def _described(self, asked: AskedRealAccount) -> RealAccount:
        return RealAccount(
            real_account_id=asked.real_account_id,
            kind=asked.kind,
            provider=asked.provider,
            masked_number=real_accounts.mask(asked.account_number),
            number_hash=real_accounts.number_hash(
                asked.account_number, provider=asked.provider, currency=asked.currency
            ),
            holder=asked.holder,
            currency=asked.currency,
            tenant_id=asked.tenant_id,
            display_name=asked.display_name,
            opened_at=self._clock.now(),
        )

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self._zone).date()


def _mapping_text(mapping: DatedMapping) -> str:
    record = mapping.record
    parts = (record.account_id, record.valid_from.isoformat(), str(record.revision))
    return _SEPARATOR.join(parts)


def _mapping_key(text: str) -> tuple[str, date, int]:
    """Where a page of mappings ended. Raises InvalidPageToken."""
    if not text:
        return _FIRST
    try:
        account_id, day, revision = text.split(_SEPARATOR)
        return account_id, date.fromisoformat(day), int(revision)
    except ValueError as error:
        raise InvalidPageToken(field="page_token") from error
