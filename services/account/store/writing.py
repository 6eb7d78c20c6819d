"""One transaction that writes: what it loads stays locked, what it saves was not moved by others."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs import money
from services.account.domain import seals
from services.account.domain.accounts import Account, Balance
from services.account.domain.batch import Book, Decision, Needs
from services.account.domain.changes import ChangeRecord, Changing
from services.account.domain.commands import Hold, HoldState, Transfer
from services.account.domain.seals import Head
from services.account.store import rows
from services.account.store.rows import SQL

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class Overtaken(Exception):
    """Another writer took an id, or moved a row, that this one had found otherwise; nothing was written."""


class Writer:
    """The transaction open on one connection."""

    def __init__(self, connection: Connection) -> None:
        """Use a connection on which a transaction is open."""
        self._connection = connection
        self._head: Head | None = None
        self._versions: Mapping[str, int] = {}
        self._groups: Mapping[str, bool] = {}

    async def load(self, needs: Needs) -> Book:
        """Lock and return the rows a batch needs, and the accounts of the holds it names.

        Takes a writer's slot first, and waits for one if all are taken.
        """
        self._head = await self._take_head()
        groups = await self._lock_groups(needs)
        holds: dict[str, Hold] = {}
        account_ids = set(needs.account_ids)
        transfer_ids = set(needs.transfer_ids)
        if needs.hold_ids or needs.group_ids:
            holds = await self._lock_holds(needs)
            for hold in holds.values():
                if not hold.is_tombstone:
                    account_ids |= {hold.debit_account_id, hold.credit_account_id}
            transfer_ids |= needs.capture_transfer_ids(holds.values())
        transfers: dict[str, Transfer] = {}
        if needs.reversed_ids:
            # What is booked never changes, so that it may be read before its accounts are locked.
            transfers = await self._get_transfers(needs.reversed_ids)
            for original in transfers.values():
                account_ids |= {original.debit_account_id, original.credit_account_id}
        balances: dict[str, Balance] = {}
        if account_ids:
            balances = await self._lock_balances(account_ids)
        if transfer_ids:
            # Only now, under the locks of its accounts, can a booked transfer no longer hide.
            transfers |= await self._get_transfers(transfer_ids)
        reversed_minor: dict[str, int] = {}
        if needs.reversed_ids:
            found = await self._connection.fetch(SQL["sum_reversals"], list(needs.reversed_ids))
            reversed_minor = {row["reverses_transfer_id"]: row["reversed_minor"] for row in found}
        return Book(
            balances=balances,
            transfers=transfers,
            holds=holds,
            reversed_minor=reversed_minor,
            groups=groups,
        )

    async def save(self, decision: Decision) -> None:
        """Write what was decided over the rows that `load` locked. Raises Overtaken."""
        if decision.groups:
            await self._save_groups(decision.groups)
        if decision.holds_new:
            await self._connection.execute(
                SQL["insert_holds"],
                *rows.columns(decision.holds_new, rows.HOLD_COLUMNS),
                list(map(rows.captures_text, decision.holds_new)),
            )
        if decision.holds_changed:
            await self._change_holds(decision.holds_changed)
        if decision.booked:
            await self._save_batch(decision)
        elif decision.balances:
            saved = await self._connection.fetchval(
                SQL["save_balances"], *self._balance_columns(decision.balances)
            )
            if saved != len(decision.balances):
                raise Overtaken

    async def get_accounts(self, account_ids: Collection[str]) -> Mapping[str, Account]:
        """Return those of the accounts that exist."""
        found = await self._connection.fetch(SQL["get_accounts"], list(account_ids))
        return {row["account_id"]: rows.account(row) for row in found}

    async def insert_accounts(self, accounts: Sequence[Account]) -> None:
        """Open accounts, each with a balance of nothing, and the books they are the first of."""
        books = {account.book_id: account for account in accounts}
        await self._connection.execute(
            SQL["insert_books"],
            list(books),
            [account.tenant_id for account in books.values()],
            [account.currency for account in books.values()],
            [money.exponent(account.currency) for account in books.values()],
        )
        await self._connection.execute(
            SQL["insert_accounts"],
            *rows.columns(accounts, (*rows.ACCOUNT_COLUMNS, "book_id", "role.is_credit_normal")),
        )

    async def load_changes(
        self, request_id: str, account_ids: Collection[str]
    ) -> tuple[Mapping[str, ChangeRecord], Mapping[str, Balance]]:
        """Lock the accounts; return them, and what this request has changed of them before."""
        balances = await self._lock_balances(account_ids)
        found = await self._connection.fetch(SQL["get_changes"], request_id, sorted(account_ids))
        known = {
            row["account_id"]: rows.change_record(
                request_id, row, balances[row["account_id"]].terms.book_id
            )
            for row in found
        }
        return known, balances

    async def save_changes(self, changing: Changing) -> None:
        """Keep the changes, and set the accounts' terms."""
        await self._connection.execute(
            SQL["save_changes"],
            *rows.change_columns(changing.records),
            *rows.columns(
                changing.balances,
                (
                    "account_id",
                    "terms.state",
                    "terms.floor_minor",
                    "terms.ceiling_minor",
                    "version",
                ),
            ),
        )

    async def _take_head(self) -> Head:
        row = await self._connection.fetchrow(SQL["take_free_head"])
        if row is None:
            row = await self._connection.fetchrow(SQL["wait_for_head"])
        if row is None:
            raise RuntimeError("the ledger has no chain to write to")
        return Head(chain=row["chain"], number=row["number"], hash=row["hash"])

    async def _lock_groups(self, needs: Needs) -> Mapping[str, bool]:
        group_ids = needs.group_ids | needs.joined_group_ids
        if not group_ids:
            return {}
        found = await self._connection.fetch(SQL["lock_groups"], sorted(group_ids))
        self._groups = {row["group_id"]: row["is_barred"] for row in found}
        return self._groups

    async def _lock_holds(self, needs: Needs) -> dict[str, Hold]:
        if needs.group_ids:
            found = await self._connection.fetch(
                SQL["lock_holds_and_groups"], sorted(needs.hold_ids), sorted(needs.group_ids)
            )
        else:
            found = await self._connection.fetch(SQL["lock_holds"], sorted(needs.hold_ids))
        return {row["hold_id"]: rows.hold(row) for row in found}

    async def _lock_balances(self, account_ids: Collection[str]) -> dict[str, Balance]:
        found = await self._connection.fetch(SQL["lock_balances"], sorted(account_ids))
        balances = {row["account_id"]: rows.balance(row) for row in found}
        self._versions = {key: balance.version for key, balance in balances.items()}
        return balances

    async def _get_transfers(self, transfer_ids: Collection[str]) -> dict[str, Transfer]:
        found = await self._connection.fetch(SQL["get_transfers"], list(transfer_ids))
        return {row["transfer_id"]: rows.transfer(row) for row in found}

    async def _save_groups(self, groups: Mapping[str, bool]) -> None:
        """Insert or bar groups. One that was not known when it was loaded must be new still."""
        known = {
            group_id: barred for group_id, barred in groups.items() if group_id in self._groups
        }
        new = {group_id: barred for group_id, barred in groups.items() if group_id not in known}
        if new:
            await self._connection.execute(
                SQL["insert_groups"], sorted(new), [new[key] for key in sorted(new)]
            )
        if known:
            await self._connection.execute(SQL["bar_groups"], sorted(known))

    async def _change_holds(self, holds: Sequence[Hold]) -> None:
        await self._connection.execute(
            SQL["update_holds"],
            *rows.columns(holds, ("hold_id", "state", "captured_minor")),
            list(map(rows.captures_text, holds)),
        )
        ended = [
            hold.hold_id
            for hold in holds
            if hold.expires_at is not None and hold.state is not HoldState.HELD
        ]
        if ended:
            await self._connection.execute(SQL["forget_expiries"], ended)

    async def _save_batch(self, decision: Decision) -> None:
        """Copy the transfers, seal them, and move the balances and the chain's head on."""
        if self._head is None:
            raise RuntimeError("what is saved must have been loaded")
        booked = seals.ordered(decision.booked)
        batch = seals.seal(self._head, booked, max(each.booked_at for each in booked))
        await self._connection.copy_records_to_table(
            "transfer",
            columns=rows.BOOKED_COLUMNS,
            records=[rows.booked_record(each, batch.chain, batch.number) for each in booked],
        )
        saved = await self._connection.fetchval(
            SQL["save_batch"],
            *self._balance_columns(decision.balances),
            batch.chain,
            batch.number,
            batch.previous_hash,
            batch.hash,
            batch.transfers_count,
            batch.booked_at,
        )
        if saved != len(decision.balances):
            raise Overtaken

    def _balance_columns(self, balances: Sequence[Balance]) -> list[list[object]]:
        return [
            [balance.account_id for balance in balances],
            [balance.debits_minor for balance in balances],
            [balance.credits_minor for balance in balances],
            [balance.held_minor for balance in balances],
            [balance.sequence for balance in balances],
            [balance.version for balance in balances],
            [balance.booked_at for balance in balances],
            [self._versions[balance.account_id] for balance in balances],
        ]
