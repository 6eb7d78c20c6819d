"""What operators and the platform's own services set up and ask channels for: merchants, keys, channel contracts, bills, balances."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Protocol

from libs.audit import NewRecord
from libs.clock import Clock
from libs.ids import IdSource
from libs.money import is_currency
from libs.paging import Page, PageRequest
from libs.resilience.retry import retry
from services.gateway.domain import merchant as merchants
from services.gateway.domain.channel import (
    Balance,
    BillFile,
    BillHashMismatch,
    ChannelUnavailable,
)
from services.gateway.domain.errors import (
    ApiKeyInvalid,
    ApiKeyNotFound,
    ChannelNotFound,
    MerchantExistsDifferently,
    MerchantNotFound,
    RequestIdReused,
    UnknownCurrency,
)
from services.gateway.domain.merchant import ChannelAccount, Merchant, StoredChannel
from services.gateway.domain.neighbours import LedgerAccount
from services.gateway.store.registry import Registry
from services.gateway.usecases.ports import Channels, Ledger, Sealer

# A revoked key may still pass for this long; every call would cost a query otherwise.
KEY_CACHE_S = 5.0
CHANNELS_PAGE = 100
# A bill may be downloaded as often as one likes; a lost answer is simply asked for again.
BILL_ATTEMPTS_MAX = 3
BILL_RETRY_S = 5.0


class Secrets(Protocol):
    def token(self) -> str:
        """256 bits of chance, without dots."""
        ...


class Merchants:
    """Who may use the gateway."""

    def __init__(
        self, *, registry: Registry, ledger: Ledger, clock: Clock, ids: IdSource, secrets: Secrets
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._ids = ids
        self._secrets = secrets
        self._known: dict[str, tuple[float, str, Merchant]] = {}

    async def create(self, wanted: Merchant, request_id: str, *, actor_id: str) -> Merchant:
        """Opens the ledger accounts, then registers. Idempotent by id, or by request_id where no id is chosen.

        Raises UnknownCurrency, MerchantExistsDifferently.
        """
        for currency in wanted.currencies:
            if not is_currency(currency):
                raise UnknownCurrency(field="merchant.currencies", currency=currency)
        merchant_id = wanted.merchant_id or merchants.derived_id(request_id)
        await self._ledger.open_accounts(_merchant_accounts(merchant_id, wanted))
        merchant = replace(wanted, merchant_id=merchant_id, created_at=self._clock.now())
        record = NewRecord(
            at=merchant.created_at,
            actor_id=actor_id,
            action="MERCHANT_CREATED",
            subject_id=merchant_id,
            detail={
                "currencies": merchant.currencies,
                "risk_down_allowed": merchant.risk_down_allowed,
                "risk_down_limit_minor": merchant.risk_down_limit_minor,
            },
        )
        stored = await self._registry.add_merchant(merchant, record)
        if (stored.display_name, stored.currencies) != (wanted.display_name, wanted.currencies):
            raise MerchantExistsDifferently(field="merchant.merchant_id")
        return stored

    async def page(self, page: PageRequest) -> Page[Merchant]:
        """By id. Raises InvalidPageToken."""
        found = await self._registry.list_merchants(page.after, page.limit)
        return page.page(found, lambda merchant: merchant.merchant_id)

    async def create_api_key(
        self, merchant_id: str, request_id: str, label: str, *, actor_id: str
    ) -> tuple[str, str]:
        """(key_id, key). Raises MerchantNotFound, and RequestIdReused since a key is shown only once."""
        if await self._registry.get_merchant(merchant_id) is None:
            raise MerchantNotFound(field="merchant_id")
        key_id = self._ids.new("key")
        secret = self._secrets.token()
        is_new = await self._registry.add_api_key(
            key_id=key_id,
            merchant_id=merchant_id,
            request_id=request_id,
            label=label,
            secret_hash=merchants.secret_hash(secret),
            record=NewRecord(
                at=self._clock.now(),
                actor_id=actor_id,
                action="API_KEY_CREATED",
                subject_id=merchant_id,
                detail={"key_id": key_id, "label": label},
            ),
        )
        if not is_new:
            raise RequestIdReused("this request_id made a key before", field="request_id")
        return key_id, merchants.compose_api_key(key_id, secret)

    async def revoke_api_key(self, key_id: str, *, actor_id: str) -> None:
        """Idempotent. Raises ApiKeyNotFound."""
        record = NewRecord(
            at=self._clock.now(),
            actor_id=actor_id,
            action="API_KEY_REVOKED",
            subject_id=key_id,
            detail={},
        )
        if not await self._registry.revoke_api_key(key_id, record):
            raise ApiKeyNotFound(field="key_id")
        self._known.pop(key_id, None)

    async def authenticate(self, api_key: str) -> Merchant:
        """The merchant behind a key. Raises ApiKeyInvalid, which does not say what was wrong."""
        parsed = merchants.parse_api_key(api_key)
        if parsed is None:
            raise ApiKeyInvalid
        key_id, secret = parsed
        known = self._known.get(key_id)
        if known is None or known[0] < self._clock.monotonic():
            known = await self._look_up(key_id)
        if not merchants.is_secret(secret, known[1]):
            raise ApiKeyInvalid
        return known[2]

    async def _look_up(self, key_id: str) -> tuple[float, str, Merchant]:
        stored = await self._registry.get_api_key(key_id)
        merchant = await self._registry.get_merchant(stored[0]) if stored else None
        if stored is None or merchant is None:
            self._known.pop(key_id, None)
            raise ApiKeyInvalid
        known = (self._clock.monotonic() + KEY_CACHE_S, stored[1], merchant)
        self._known[key_id] = known
        return known


class ChannelAccounts:
    """How channels are reached, and what they say of themselves."""

    def __init__(
        self,
        *,
        registry: Registry,
        ledger: Ledger,
        channels: Channels,
        sealer: Sealer,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._channels = channels
        self._sealer = sealer
        self._clock = clock

    async def put(
        self, account: ChannelAccount, credentials: Mapping[str, str], *, actor_id: str
    ) -> StoredChannel:
        """Opens the ledger accounts, then stores. Idempotent. Raises UnknownCurrency, ChannelMisconfigured."""
        for currency in account.currencies:
            if not is_currency(currency):
                raise UnknownCurrency(field="channel_account.currencies", currency=currency)
        self._channels.check(account, credentials)
        await self._ledger.open_accounts(_channel_accounts(account))
        names = tuple(sorted(credentials))
        sealed, now = self._sealer.seal(credentials), self._clock.now()
        record = NewRecord(
            at=now,
            actor_id=actor_id,
            action="CHANNEL_ACCOUNT_STORED",
            subject_id=account.channel_id,
            detail={
                "provider": account.provider,
                "base_url": account.base_url,
                "currencies": account.currencies,
                "zone": account.zone,
                "credential_names": names,
            },
        )
        await self._registry.put_channel(account, names, sealed, record)
        await self._channels.renew(account.channel_id)
        return StoredChannel(
            account=account, credential_names=names, sealed_credentials=sealed, updated_at=now
        )

    async def page(self, page: PageRequest) -> Page[StoredChannel]:
        """By id. Raises InvalidPageToken."""
        found = await self._registry.list_channels(page.after, page.limit)
        return page.page(found, lambda stored: stored.account.channel_id)

    async def provider(self, channel_id: str) -> str:
        """Names the format of the channel's bills. Raises ChannelNotFound."""
        stored = await self._registry.get_channel(channel_id)
        if stored is None:
            raise ChannelNotFound(field="channel_id", channel_id=channel_id)
        return stored.account.provider

    async def open_ledger_accounts(self) -> None:
        """Those that this release books to, of every channel in store: an earlier one may not have opened them all. Idempotent.

        Raises FiscError.
        """
        after = ""
        while page := await self._registry.list_channels(after, CHANNELS_PAGE):
            for stored in page:
                await self._ledger.open_accounts(_channel_accounts(stored.account))
            after = page[-1].account.channel_id

    async def fetch_bill(self, channel_id: str, business_date: date) -> BillFile:
        """Raises ChannelNotFound and the connector's own errors."""
        connector = await self._channels.connector(channel_id)
        return await retry(
            lambda: connector.fetch_bill(business_date),
            on=(ChannelUnavailable, BillHashMismatch),
            attempts_max=BILL_ATTEMPTS_MAX,
            wait_initial_s=0.2,
            timeout_s=BILL_RETRY_S,
        )

    async def balance(self, channel_id: str) -> Balance:
        """Raises ChannelNotFound and the connector's own errors."""
        connector = await self._channels.connector(channel_id)
        return await connector.balance()


def _merchant_accounts(merchant_id: str, merchant: Merchant) -> list[LedgerAccount]:
    return [
        LedgerAccount(
            account_id=account_of(merchant_id, currency),
            owner_id=merchant_id,
            role=role,
            currency=currency,
            display_name=f"{merchant.display_name} {label} {currency}",
        )
        for currency in merchant.currencies
        for account_of, role, label in (
            (merchants.available_account, "MERCHANT_AVAILABLE", "available"),
            (merchants.pending_account, "MERCHANT_PENDING", "pending"),
        )
    ]


def _channel_accounts(account: ChannelAccount) -> list[LedgerAccount]:
    channel_id = account.channel_id
    return [
        LedgerAccount(
            account_id=account_id,
            owner_id=owner_id,
            role=role,
            currency=currency,
            display_name=f"{label} {currency}",
        )
        for currency in account.currencies
        for account_id, owner_id, role, label in (
            (
                merchants.receivable_account(channel_id, currency),
                channel_id,
                "CHANNEL_RECEIVABLE",
                f"{channel_id} receivable",
            ),
            (merchants.payout_transit_account(currency), "", "IN_TRANSIT", "payouts in transit"),
            (
                merchants.late_success_account(currency),
                "",
                "SUSPENSE",
                "late successes to be given back",
            ),
        )
    ]
