"""At start the ledger accounts of this release are opened, however late the ledger comes up."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from libs.errors import Unavailable
from services.gateway.domain.merchant import ChannelAccount, StoredChannel
from services.gateway.domain.neighbours import LedgerAccount
from services.gateway.store.registry import Registry
from services.gateway.usecases import operations
from services.gateway.usecases.operations import ChannelAccounts
from services.gateway.workers import ledger_accounts
from tests.unit.services.gateway.domain.orders import NOW


class Channels:
    """Those in store."""

    def __init__(self, *channel_ids: str) -> None:
        self.channel_ids = channel_ids

    async def list_channels(self, after: str, limit: int) -> list[StoredChannel]:
        found = [each for each in sorted(self.channel_ids) if each > after]
        return [
            StoredChannel(
                account=ChannelAccount(
                    channel_id=channel_id,
                    provider="sandbox",
                    base_url="",
                    currencies=("CNY", "USD"),
                    zone="Asia/Shanghai",
                ),
                credential_names=(),
                sealed_credentials=b"",
                updated_at=NOW,
            )
            for channel_id in found[:limit]
        ]


class Ledger:
    """Away for the first calls."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.accounts: set[str] = set()

    async def open_accounts(self, accounts: Sequence[LedgerAccount]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("not up yet")
        self.accounts |= {each.account_id for each in accounts}


def accounts(channels: Channels, ledger: Ledger) -> ChannelAccounts:
    unused = cast(Any, None)
    return ChannelAccounts(
        registry=cast(Registry, channels),
        ledger=cast(Any, ledger),
        channels=unused,
        sealer=unused,
        clock=unused,
    )


async def test_it_is_tried_until_the_ledger_is_up_and_ends_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_accounts, "RETRY_S", 0.001)
    ledger = Ledger(failures=2)

    async with asyncio.timeout(5):
        await ledger_accounts.open_all(accounts(Channels("a"), ledger).open_ledger_accounts)

    assert ledger.accounts == {
        f"{name}/{currency}"
        for name in ("channel/a/receivable", "platform/payout-transit", "platform/late-success")
        for currency in ("CNY", "USD")
    }


async def test_no_channel_of_any_page_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "CHANNELS_PAGE", 2)
    ledger = Ledger()

    await accounts(Channels("a", "b", "c", "d", "e"), ledger).open_ledger_accounts()

    receivables = {each for each in ledger.accounts if each.endswith("/receivable/CNY")}
    assert receivables == {f"channel/{name}/receivable/CNY" for name in "abcde"}


async def test_what_breaks_otherwise_is_not_tried_for_ever() -> None:
    async def broken() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await ledger_accounts.open_all(broken)
