"""Rules and lists.

What is written here is in force in this process when the call returns, elsewhere soon after.
"""

import dataclasses

from libs.clock import Clock
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from services.risk.domain import checks
from services.risk.domain.model import ListEntry, ListName, Rule
from services.risk.store.database import RecordedRequest, Store
from services.risk.usecases.book import CurrentBook
from services.risk.usecases.requests import fingerprint, made_before


class Administration:
    """Keeps rules and lists. Every change is idempotent by its request_id."""

    def __init__(self, *, store: Store, book: CurrentBook, clock: Clock, ids: IdSource) -> None:
        """The book is refreshed after each change."""
        self._store = store
        self._book = book
        self._clock = clock
        self._ids = ids

    async def upsert_rule(self, request_id: str, rule: Rule) -> Rule:
        """Write the rule as its next version.

        Raises RequestIdReused and what checks.checked_rule raises.
        """
        rule = dataclasses.replace(checks.checked_rule(rule), version=0)
        digest = fingerprint(rule)
        now = self._clock.now()
        async with self._store.transaction() as transaction:
            await transaction.bump_revision()
            made = await made_before(transaction, "UpsertRule", request_id, digest)
            if made is not None:
                return await transaction.rule_version(rule.rule_id, int(made))
            stored = await transaction.insert_rule(rule, now)
            recorded = RecordedRequest(digest, str(stored.version))
            await transaction.insert_request("UpsertRule", request_id, recorded, now)
        await self._book.refresh()
        return stored

    async def list_rules(self, page: PageRequest) -> Page[Rule]:
        """Current versions by id. Raises InvalidPageToken."""
        found = await self._store.rules(page.after, page.limit)
        return page.page(found, lambda rule: rule.rule_id)

    async def add_entry(self, request_id: str, entry: ListEntry) -> ListEntry:
        """Put a subject on a list.

        Raises RequestIdReused, and for new entries what checks.checked_entry raises.
        """
        digest = fingerprint(dataclasses.replace(entry, entry_id=""))
        now = self._clock.now()
        async with self._store.transaction() as transaction:
            await transaction.bump_revision()
            made = await made_before(transaction, "AddListEntry", request_id, digest)
            if made is not None:
                return await transaction.entry(made)
            entry = checks.checked_entry(entry, now)
            stored = dataclasses.replace(entry, entry_id=self._ids.new("entry"))
            await transaction.insert_entry(stored, now)
            recorded = RecordedRequest(digest, stored.entry_id)
            await transaction.insert_request("AddListEntry", request_id, recorded, now)
        await self._book.refresh()
        return stored

    async def remove_entry(self, request_id: str, entry_id: str) -> None:
        """Take an entry off; one that is off stays so. Raises EntryNotFound, RequestIdReused."""
        digest = fingerprint(entry_id)
        now = self._clock.now()
        async with self._store.transaction() as transaction:
            await transaction.bump_revision()
            if await made_before(transaction, "RemoveListEntry", request_id, digest) is not None:
                return
            await transaction.remove_entry(entry_id, now)
            recorded = RecordedRequest(digest, entry_id)
            await transaction.insert_request("RemoveListEntry", request_id, recorded, now)
        await self._book.refresh()

    async def list_entries(self, list_name: ListName | None, page: PageRequest) -> Page[ListEntry]:
        """Entries in force by id, of one list or all. Raises InvalidPageToken."""
        found = await self._store.entries(list_name, self._clock.now(), page.after, page.limit)
        return page.page(found, lambda entry: entry.entry_id)
