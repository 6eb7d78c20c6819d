"""What a fresh suite is furnished with: merchants, channels, rules, fees. Data, no doing."""

from dataclasses import dataclass, field
from typing import Any, Final

from fisc.account.v1 import treasury_pb2
from fisc.clearing.v1 import clearing_pb2
from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import operations_pb2
from fisc.risk.v1 import risk_pb2
from fisc.router.v1 import router_pb2

CURRENCY: Final = "CNY"
ZONE: Final = "Asia/Shanghai"
TENANT: Final = "demo"
PPM_PER_BASIS_POINT: Final = 100
OPENING_DEPOSIT_MINOR: Final = 1_000_000_000
BANK_ACCOUNT: Final = f"platform/bank/{CURRENCY}"
PAYOUT_TRANSIT_ACCOUNT: Final = f"platform/payout-transit/{CURRENCY}"
LATE_SUCCESS_ACCOUNT: Final = f"platform/late-success/{CURRENCY}"
FEE_INCOME_ACCOUNT: Final = f"platform/fee-income/{CURRENCY}"
CHANNEL_COST_ACCOUNT: Final = f"platform/channel-cost/{CURRENCY}"
REAL_ACCOUNT: Final = f"demo-bank/settlement/{CURRENCY}"
FEES_FROM: Final = "2026-01-01"
WEBHOOK_EVENTS: Final = (
    "payment.succeeded", "payment.failed", "payment.canceled",
    "refund.succeeded", "refund.failed", "payout.succeeded", "payout.failed",
)  # fmt: skip
WECHAT_MCHID: Final = "1900000109"
WECHAT_APPID: Final = "wx0000000000000001"

# Merchant id → (what people call it, fee in millionths).
MERCHANTS: Final = {
    "shop": ("Demo shop", 8_000),
    "market": ("Demo market", 7_000),
    "travel": ("Demo travel", 9_000),
    "digital": ("Demo digital goods", 10_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPlan:
    """A channel to make: how it is priced, and how the sandbox shall behave as it."""

    channel_id: str
    provider: str = "simpay"
    display_name: str
    method: str
    operations: tuple[str, ...] = ("PAYMENT", "REFUND")
    fee_bps: int = 0
    payout_fee: int = 0
    rank: int
    profile: dict[str, Any] = field(default_factory=dict)

    @property
    def account_id(self) -> str:
        """Our number at the provider."""
        return WECHAT_MCHID if self.provider == "wechat" else self.channel_id

    def router_channel(self) -> router_pb2.Channel:
        """As the router shall know it."""
        return router_pb2.Channel(
            channel_id=self.channel_id,
            provider=self.provider,
            display_name=self.display_name,
            status=router_pb2.CHANNEL_STATUS_ENABLED,
            methods=[method(self.method)],
            operations=[
                method_pb2.Operation.Value(f"OPERATION_{operation}")
                for operation in self.operations
            ],
            currencies=[CURRENCY],
            amount_minimum_minor=1,
            fee=router_pb2.FeeSchedule(
                rate_ppm=self.fee_bps * PPM_PER_BASIS_POINT, fixed_minor=self.payout_fee
            ),
            zone=ZONE,
            cut_off="00:00",
            static_rank=self.rank,
        )

    def sandbox_profile(self) -> dict[str, Any]:
        """As the sandbox shall play it."""
        return {"fee_bps": self.fee_bps, "payout_fee": self.payout_fee, **self.profile}


def receivable_account(channel_id: str) -> str:
    """What a channel has collected for us."""
    return f"channel/{channel_id}/receivable/{CURRENCY}"


def real_account() -> treasury_pb2.RealAccount:
    """The bank account into which the channels settle, and from which the merchants are paid."""
    return treasury_pb2.RealAccount(
        real_account_id=REAL_ACCOUNT,
        kind=treasury_pb2.REAL_ACCOUNT_KIND_BANK,
        provider="demo-bank",
        account_number="6200000000000001",
        holder="Fisc demo",
        currency=CURRENCY,
        display_name="Settlement account of the demo",
    )


def mapped_accounts() -> list[str]:
    """The virtual accounts that stand on it: all to which the demo books."""
    own = [BANK_ACCOUNT, PAYOUT_TRANSIT_ACCOUNT, LATE_SUCCESS_ACCOUNT]
    own += [FEE_INCOME_ACCOUNT, CHANNEL_COST_ACCOUNT]
    merchants = [
        f"merchant/{merchant_id}/{purpose}/{CURRENCY}"
        for merchant_id in MERCHANTS
        for purpose in ("available", "pending")
    ]
    return own + merchants + [receivable_account(plan.channel_id) for plan in CHANNELS]


def method(name: str) -> method_pb2.PaymentMethod.ValueType:
    """The contract's word for a method."""
    return method_pb2.PaymentMethod.Value(f"PAYMENT_METHOD_{name}")


def money(amount_minor: int) -> money_pb2.Money:
    """An amount in the demo's currency."""
    return money_pb2.Money(currency=CURRENCY, amount_minor=amount_minor)


def _quick(low_ms: int, high_ms: int, **more: Any) -> dict[str, Any]:
    return {"latency_ms": [low_ms, high_ms], "callback_after_ms": [20, 150], **more}


_SCANNED: Final = {"auto_pay_after_ms": [150, 900]}
# An acquirer that answers at once tells nothing twice, so a lost answer must be asked for.
_AT_ONCE: Final = {"notify_immediate": False}
_CARDS: Final = ("PAYMENT", "AUTHORIZATION", "REFUND")
_BANKING: Final = {**_SCANNED, "pending_methods": ["online_banking"]}

CHANNELS: Final = (
    ChannelPlan(
        channel_id="wechat-main", provider="wechat", display_name="WeChat Pay, own merchant number",
        method="WECHAT_QR", fee_bps=60, rank=10, profile=_quick(15, 60, **_SCANNED),
    ),
    ChannelPlan(
        channel_id="wechat-alt", display_name="WeChat Pay through an aggregator",
        method="WECHAT_QR", fee_bps=75, rank=20, profile=_quick(20, 90, **_SCANNED),
    ),
    ChannelPlan(
        channel_id="alipay-a", display_name="Alipay, acquirer A", method="ALIPAY_QR",
        fee_bps=55, rank=10, profile=_quick(15, 60, **_SCANNED),
    ),
    ChannelPlan(
        channel_id="alipay-b", display_name="Alipay, acquirer B", method="ALIPAY_QR",
        fee_bps=60, rank=20, profile=_quick(10, 40, **_SCANNED),
    ),
    ChannelPlan(
        channel_id="unionpay-a", display_name="UnionPay QR, acquirer A", method="UNIONPAY_QR",
        fee_bps=50, rank=10, profile=_quick(20, 80, **_SCANNED),
    ),
    ChannelPlan(
        channel_id="unionpay-b", display_name="UnionPay QR, acquirer B", method="UNIONPAY_QR",
        fee_bps=58, rank=20, profile=_quick(20, 60, **_SCANNED),
    ),
    ChannelPlan(
        channel_id="card-a", display_name="Cards, acquirer A (cheap)", method="CARD", operations=_CARDS, fee_bps=45,
        rank=10, profile=_quick(30, 110, decline_rate=0.02, soft_decline_rate=0.03, **_AT_ONCE),
    ),
    ChannelPlan(
        channel_id="card-b", display_name="Cards, acquirer B", method="CARD", operations=_CARDS, fee_bps=52,
        rank=20, profile=_quick(25, 80, decline_rate=0.02, soft_decline_rate=0.02, **_AT_ONCE),
    ),
    ChannelPlan(
        channel_id="card-c", display_name="Cards, acquirer C (steady)", method="CARD", operations=_CARDS, fee_bps=70,
        rank=30, profile=_quick(20, 60, decline_rate=0.01, soft_decline_rate=0.005, **_AT_ONCE),
    ),
    ChannelPlan(
        channel_id="netbank-a", display_name="Online banking, gateway A", method="ONLINE_BANKING",
        fee_bps=20, rank=10, profile=_quick(30, 120, **_BANKING),
    ),
    ChannelPlan(
        channel_id="netbank-b", display_name="Online banking, gateway B", method="ONLINE_BANKING",
        fee_bps=25, rank=20, profile=_quick(20, 80, **_BANKING),
    ),
    ChannelPlan(
        channel_id="bank-a", display_name="Bank A, transfers", method="BANK_TRANSFER",
        operations=("PAYOUT",), payout_fee=200, rank=10, profile=_quick(30, 120),
    ),
    ChannelPlan(
        channel_id="bank-b", display_name="Bank B, transfers", method="BANK_TRANSFER",
        operations=("PAYOUT",), payout_fee=350, rank=20, profile=_quick(15, 60),
    ),
)  # fmt: skip


def rules() -> list[risk_pb2.Rule]:
    """What is reviewed or denied."""
    customer = risk_pb2.SUBJECT_KIND_CUSTOMER
    checks = [
        risk_pb2.Rule(
            rule_id="single-50k",
            verdict=risk_pb2.VERDICT_REVIEW,
            single_limit=risk_pb2.SingleLimit(amount_maximum_minor=5_000_000),
            description="A person looks at every payment above 50,000 yuan.",
        ),
        risk_pb2.Rule(
            rule_id="customer-day-300k",
            verdict=risk_pb2.VERDICT_DENY,
            day_limit=risk_pb2.DayLimit(subject=customer, amount_maximum_minor=30_000_000),
            description="A customer pays at most 300,000 yuan a day.",
        ),
        risk_pb2.Rule(
            rule_id="customer-velocity",
            verdict=risk_pb2.VERDICT_DENY,
            velocity_limit=risk_pb2.VelocityLimit(subject=customer, window_s=60, count_maximum=30),
            description="More than 30 payments of one customer in a minute are a machine.",
        ),
    ]
    for rule in checks:
        rule.operation, rule.currency = method_pb2.OPERATION_PAYMENT, CURRENCY
        rule.enabled = True
    return checks


def blocked() -> risk_pb2.ListEntry:
    """The one who may not pay."""
    return risk_pb2.ListEntry(
        list=risk_pb2.LIST_NAME_BLOCK,
        kind=risk_pb2.SUBJECT_KIND_CUSTOMER,
        value="digital-blocked",
        note="Chargebacks of the past.",
    )


def merchant(merchant_id: str) -> operations_pb2.Merchant:
    """A merchant to register."""
    return operations_pb2.Merchant(
        merchant_id=merchant_id,
        tenant_id=TENANT,
        display_name=MERCHANTS[merchant_id][0],
        currencies=[CURRENCY],
        risk_down_allowed=True,
        risk_down_limit_minor=50_000,
    )


def fee_plan(merchant_id: str) -> clearing_pb2.FeePlan:
    """What a merchant pays us; settled the next working day."""
    return clearing_pb2.FeePlan(
        merchant_id=merchant_id,
        rate_ppm=MERCHANTS[merchant_id][1],
        payout_fixed_minor=100,
        fee_refundable=False,
        effective_from=FEES_FROM,
        settle_delay_days=1,
    )
