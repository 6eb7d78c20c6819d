"""Furnishes a suite with the demo's merchants, channels, rules and fees: what stands, stays.

Each store is asked what it has; only what is missing is written, so a second run changes nothing
and a run that was broken off is completed. What depends on the ports (where the sandbox and the
webhook receiver listen) is corrected when they have moved.
"""

import secrets
from collections.abc import Callable
from typing import Any

from deploy.local import catalog
from deploy.local.catalog import ChannelPlan
from deploy.local.clients import Platform
from deploy.local.credentials import Credentials, public_key_pem
from deploy.local.errors import LocalError
from fisc.account.v1 import account_pb2, treasury_pb2
from fisc.clearing.v1 import clearing_pb2
from fisc.gateway.v1 import operations_pb2
from fisc.notification.v1 import notification_pb2
from fisc.risk.v1 import risk_pb2
from fisc.router.v1 import router_pb2


class Seeder:
    """Writes what is missing into one suite."""

    def __init__(
        self,
        platform: Platform,
        credentials: Credentials,
        *,
        receiver_url: str,
        on_progress: Callable[[str], None],
    ) -> None:
        self._platform = platform
        self._credentials = credentials
        self._receiver_url = receiver_url
        self._on_progress = on_progress

    async def seed(self) -> bool:
        """Furnish every store; whether anything had been missing. Raises FiscError, LocalError."""
        written = [
            await self._merchants(),
            await self._channels(),
            await self._rules(),
            await self._fee_plans(),
            await self._deposits(),
            await self._real_account(),
            await self._endpoints(),
        ]
        return any(written)

    async def _merchants(self) -> bool:
        operations = self._platform.operations
        listed = self._platform.pages(
            operations.ListMerchants, operations_pb2.ListMerchantsRequest(), "merchants"
        )
        known = {merchant.merchant_id async for merchant in listed}
        for merchant_id in catalog.MERCHANTS.keys() - known:
            await self._platform.call(
                operations.CreateMerchant,
                operations_pb2.CreateMerchantRequest(
                    request_id=f"seed:merchant:{merchant_id}",
                    merchant=catalog.merchant(merchant_id),
                ),
            )
        keyless = sorted(catalog.MERCHANTS.keys() - self._credentials.api_keys.keys())
        for merchant_id in keyless:
            # A key is shown once: if an earlier one was lost, this is another, so its id is fresh.
            answer = await self._platform.call(
                operations.CreateApiKey,
                operations_pb2.CreateApiKeyRequest(
                    request_id=f"seed:key:{merchant_id}:{secrets.token_hex(8)}",
                    merchant_id=merchant_id,
                    label="demo",
                ),
            )
            self._credentials.api_keys[merchant_id] = answer.api_key
            self._credentials.save()
        return self._told("merchants", len(catalog.MERCHANTS.keys() - known))

    async def _channels(self) -> bool:
        platform = self._platform
        listed = platform.pages(
            platform.router.ListChannels, router_pb2.ListChannelsRequest(), "channels"
        )
        routed = {channel.channel_id async for channel in listed}
        accounts = platform.pages(
            platform.operations.ListChannelAccounts,
            operations_pb2.ListChannelAccountsRequest(),
            "channel_accounts",
        )
        reached = {account.channel_id: account.base_url async for account in accounts}
        played = {account["account_id"] for account in await platform.sandbox.accounts()}
        moved = 0
        for plan in catalog.CHANNELS:
            if plan.account_id not in played or reached.get(plan.channel_id) != self._url(plan):
                await self._open_account(plan, is_moved=plan.channel_id in reached)
                moved += plan.channel_id in reached
        # Routed last, so that no payment is sent where the gateway cannot go yet.
        for plan in catalog.CHANNELS:
            if plan.channel_id not in routed:
                await platform.call(
                    platform.router.UpsertChannel,
                    router_pb2.UpsertChannelRequest(
                        request_id=f"seed:channel:{plan.channel_id}",
                        channel=plan.router_channel(),
                    ),
                )
        if moved:
            self._on_progress(f"corrected where {moved} channels are reached")
        made = self._told("channels", len({p.channel_id for p in catalog.CHANNELS} - routed))
        return made or moved > 0

    async def _open_account(self, plan: ChannelPlan, *, is_moved: bool) -> None:
        """Make the same keys known to both ends of a channel."""
        profile = plan.sandbox_profile()
        if plan.provider == "wechat":
            keys = self._credentials.wechat(
                plan.channel_id, mchid=catalog.WECHAT_MCHID, appid=catalog.WECHAT_APPID
            )
            platform_key = await self._platform.sandbox.register(
                {
                    "provider": "wechat",
                    "account_id": plan.account_id,
                    "appid": keys["appid"],
                    "apiv3_key": keys["apiv3_key"],
                    "merchant_serial": keys["merchant_serial"],
                    "merchant_public_key_pem": public_key_pem(keys["merchant_private_key_pem"]),
                    "profile": profile,
                }
            )
            keys["platform_public_key_pem"] = platform_key["platform_public_key_pem"]
            keys["platform_public_key_id"] = platform_key["public_key_id"]
        else:
            keys = self._credentials.simpay(plan.channel_id)
            await self._platform.sandbox.register(
                {
                    "provider": "simpay",
                    "account_id": plan.account_id,
                    "secret": keys["secret"],
                    "profile": profile,
                }
            )
        suffix = f":{secrets.token_hex(8)}" if is_moved else ""
        await self._platform.call(
            self._platform.operations.UpsertChannelAccount,
            operations_pb2.UpsertChannelAccountRequest(
                request_id=f"seed:account:{plan.channel_id}{suffix}",
                channel_account=operations_pb2.ChannelAccount(
                    channel_id=plan.channel_id,
                    provider=plan.provider,
                    base_url=self._url(plan),
                    currencies=[catalog.CURRENCY],
                    zone=catalog.ZONE,
                ),
                credentials=keys,
            ),
        )

    def _url(self, plan: ChannelPlan) -> str:
        sandbox = self._platform.sandbox.url
        if plan.provider == "wechat":
            return f"{sandbox}/wechat"
        return f"{sandbox}/simpay/{plan.account_id}"

    async def _rules(self) -> bool:
        platform = self._platform
        listed = platform.pages(platform.risk.ListRules, risk_pb2.ListRulesRequest(), "rules")
        if [rule async for rule in listed]:
            return False
        rules = catalog.rules()
        for rule in rules:
            await platform.call(
                platform.risk.UpsertRule,
                risk_pb2.UpsertRuleRequest(request_id=f"seed:rule:{rule.rule_id}", rule=rule),
            )
        await platform.call(
            platform.risk.AddListEntry,
            risk_pb2.AddListEntryRequest(request_id="seed:blocked", entry=catalog.blocked()),
        )
        return self._told("risk rules", len(rules))

    async def _fee_plans(self) -> bool:
        platform = self._platform
        listed = platform.pages(
            platform.clearing.ListFeePlans, clearing_pb2.ListFeePlansRequest(), "fee_plans"
        )
        missing = sorted(catalog.MERCHANTS.keys() - {plan.merchant_id async for plan in listed})
        for merchant_id in missing:
            await platform.call(
                platform.clearing.UpsertFeePlan,
                clearing_pb2.UpsertFeePlanRequest(
                    request_id=f"seed:fees:{merchant_id}", fee_plan=catalog.fee_plan(merchant_id)
                ),
            )
        return self._told("fee plans", len(missing))

    async def _deposits(self) -> bool:
        """Fund the merchants, so that there is something to pay out."""
        platform = self._platform
        transfers = [
            account_pb2.Transfer(
                transfer_id=f"seed:deposit:{merchant_id}:{catalog.CURRENCY}",
                debit_account_id=catalog.BANK_ACCOUNT,
                credit_account_id=f"merchant/{merchant_id}/available/{catalog.CURRENCY}",
                amount=catalog.money(catalog.OPENING_DEPOSIT_MINOR),
                reference="opening deposit",
                description="Opening deposit of the demo",
                effective_date=catalog.FEES_FROM,
            )
            for merchant_id in catalog.MERCHANTS
        ]
        await self._open_platform_accounts()
        answer = await platform.call(
            platform.account.PostTransfers,
            account_pb2.PostTransfersRequest(request_id="seed:deposits", transfers=transfers),
        )
        _check(answer.results)
        return self._told(
            "opening deposits",
            sum(1 for result in answer.results if not result.replayed),
        )

    async def _open_platform_accounts(self) -> None:
        """The platform's own accounts that a deposit, a payout and a settlement need."""
        platform = self._platform
        wanted = {
            catalog.BANK_ACCOUNT: (account_pb2.ACCOUNT_ROLE_BANK_MIRROR, "Our bank account"),
            catalog.PAYOUT_TRANSIT_ACCOUNT: (
                account_pb2.ACCOUNT_ROLE_IN_TRANSIT,
                "Payouts on their way",
            ),
            # As clearing opens them when it first settles; they must stand to be mapped.
            catalog.FEE_INCOME_ACCOUNT: (
                account_pb2.ACCOUNT_ROLE_FEE_INCOME,
                f"Fee income {catalog.CURRENCY}",
            ),
            catalog.CHANNEL_COST_ACCOUNT: (
                account_pb2.ACCOUNT_ROLE_CHANNEL_COST,
                f"Channel cost {catalog.CURRENCY}",
            ),
        }
        known = await platform.call(
            platform.account.GetBalances, account_pb2.GetBalancesRequest(account_ids=list(wanted))
        )
        missing = wanted.keys() - {balance.account_id for balance in known.balances}
        if not missing:
            return
        answer = await platform.call(
            platform.account.OpenAccounts,
            account_pb2.OpenAccountsRequest(
                request_id="seed:accounts",
                accounts=[
                    account_pb2.Account(
                        account_id=account_id,
                        role=wanted[account_id][0],
                        currency=catalog.CURRENCY,
                        display_name=wanted[account_id][1],
                    )
                    for account_id in sorted(missing)
                ],
            ),
        )
        _check(answer.results)

    async def _real_account(self) -> bool:
        """Make the demo's bank account known, and say that every virtual account stands on it."""
        treasury = self._platform.treasury
        opened = await self._platform.call(
            treasury.OpenRealAccounts,
            treasury_pb2.OpenRealAccountsRequest(
                request_id="seed:real-account", real_accounts=[catalog.real_account()]
            ),
        )
        _check(opened.results)
        answer = await self._platform.call(
            treasury.MapAccounts,
            treasury_pb2.MapAccountsRequest(
                request_id="seed:mappings",
                mappings=[
                    treasury_pb2.Mapping(
                        account_id=account_id,
                        real_account_id=catalog.REAL_ACCOUNT,
                        valid_from=catalog.FEES_FROM,
                        reason="The demo has one bank account.",
                    )
                    for account_id in catalog.mapped_accounts()
                ],
            ),
        )
        _check(answer.results)
        new = sum(1 for result in answer.results if not result.replayed)
        return self._told("accounts that stand on a bank account", new)

    async def _endpoints(self) -> bool:
        """One endpoint a merchant, at the receiver of this command line."""
        platform = self._platform
        listed = platform.pages(
            platform.notification.ListEndpoints,
            notification_pb2.ListEndpointsRequest(),
            "endpoints",
        )
        known = {endpoint.merchant_id: endpoint async for endpoint in listed}
        moved = 0
        for merchant_id in catalog.MERCHANTS:
            url = f"{self._receiver_url}/{merchant_id}"
            endpoint = known.get(merchant_id)
            if endpoint is None:
                await self._create_endpoint(merchant_id, url)
                continue
            if endpoint.url != url:
                endpoint.url = url
                moved += 1
                await platform.call(
                    platform.notification.UpdateEndpoint,
                    notification_pb2.UpdateEndpointRequest(
                        request_id=f"seed:endpoint:{secrets.token_hex(8)}", endpoint=endpoint
                    ),
                )
            if merchant_id not in self._credentials.webhook_secrets:
                await self._rotate_secret(merchant_id, endpoint.endpoint_id)
        if moved:
            self._on_progress(f"corrected where {moved} merchants hear")
        made = self._told("webhook endpoints", len(catalog.MERCHANTS.keys() - known.keys()))
        return made or moved > 0

    async def _create_endpoint(self, merchant_id: str, url: str) -> None:
        answer = await self._platform.call(
            self._platform.notification.CreateEndpoint,
            notification_pb2.CreateEndpointRequest(
                request_id=f"seed:endpoint:{merchant_id}",
                endpoint=notification_pb2.Endpoint(
                    merchant_id=merchant_id, url=url, event_types=catalog.WEBHOOK_EVENTS
                ),
            ),
        )
        self._credentials.webhook_secrets[merchant_id] = answer.secret
        self._credentials.save()

    async def _rotate_secret(self, merchant_id: str, endpoint_id: str) -> None:
        answer = await self._platform.call(
            self._platform.notification.RotateSecret,
            notification_pb2.RotateSecretRequest(
                request_id=f"seed:secret:{secrets.token_hex(8)}", endpoint_id=endpoint_id
            ),
        )
        self._credentials.webhook_secrets[merchant_id] = answer.secret
        self._credentials.save()

    def _told(self, what: str, count: int) -> bool:
        if count:
            self._on_progress(f"seeded {count} {what}")
        return count > 0


def _check(results: Any) -> None:
    """Raise LocalError for the first item a batch refused."""
    for result in results:
        if result.HasField("error"):
            error = result.error
            raise LocalError(f"the ledger refuses the seed: {error.reason}: {error.message}")
