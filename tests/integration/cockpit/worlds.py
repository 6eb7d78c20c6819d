"""A busy day for the page: every part of it has something to show."""

import random
from collections.abc import Iterator
from datetime import timedelta

from fisc.account.v1 import account_pb2
from fisc.clearing.v1 import clearing_pb2
from fisc.common.v1 import events_pb2, method_pb2
from fisc.gateway.v1 import events_pb2 as gateway_pb2
from fisc.gateway.v1 import operations_pb2
from fisc.notification.v1 import notification_pb2
from fisc.risk.v1 import risk_pb2
from fisc.router.v1 import router_pb2
from libs.rpc import convert
from tests.integration.cockpit.support import NOON, World, attempt, money, payment_event

DAY = "2026-11-20"
CHANNELS = ("wechat-main", "simpay-fast", "simpay-cheap")
# How busy each hour of the day is.
_BUSY = (3, 2, 1, 1, 1, 2, 6, 14, 22, 30, 34, 44, 52, 38, 30, 28, 31, 39, 55, 60, 48, 33, 18, 8)


def busy_day() -> World:
    """A world with about 600 payments and one of everything that needs action."""
    world = World()
    world.emit(*_payments(random.Random(7)))
    world.answers.update(
        ListChannels=_channels(),
        GetChannelStats=_stats(),
        GetTrialBalance=_trial_balance(),
        ListAccounts=_accounts(),
        ListDifferences=_differences(),
        GetDayReport=_day_report(),
        ListBatches=_batches(),
        GetBacklog=operations_pb2.GetBacklogResponse(
            lines=[
                operations_pb2.BacklogLine(
                    flow="payment", state="UNKNOWN", count=2, oldest_age_s=372
                )
            ]
        ),
        ListCases=_cases(),
        ListDeliveries=notification_pb2.ListDeliveriesResponse(),
    )
    return world


def _payments(rng: random.Random) -> Iterator[events_pb2.Event]:
    number = 0
    midnight = NOON - timedelta(hours=12)
    for hour, busy in enumerate(_BUSY):
        for second in sorted(rng.randrange(3600) for _ in range(busy)):
            number += 1
            at = midnight + timedelta(hours=hour, seconds=second)
            payment_id = f"pay_01jd8m5q{number:018d}"
            fate = rng.random()
            channel = "simpay-fast" if hour >= 12 else rng.choice(CHANNELS)
            state = "SUCCEEDED"
            attempts: tuple[gateway_pb2.AttemptRecord, ...] = (
                attempt(payment_id, 1, channel, state, rng.randrange(60, 420)),
            )
            if fate < 0.04:
                attempts = (attempt(payment_id, 1, channel, "DECLINED", 90, code="NO_BALANCE"),)
                state = "FAILED"
            elif fate < 0.10:
                attempts = (
                    attempt(payment_id, 1, "simpay-cheap", "CLOSED", 3000, code="TIMEOUT"),
                    attempt(payment_id, 2, "wechat-main", "SUCCEEDED", 210),
                )
            yield payment_event(
                payment_id,
                amount_minor=rng.choice((990, 1_990, 4_580, 12_800, 45_000, 129_900)),
                at=at,
                state=state,
                reason="INSUFFICIENT_FUNDS" if state == "FAILED" else "",
                merchant_id=rng.choice(("mer_teahouse", "mer_bookshop", "mer_bicycles")),
                order_ref=f"SO-{number:06d}",
                attempts=attempts,
            )
    manual = "pay_01jd8m5qmanual000000000001"
    yield payment_event(
        manual,
        state="MANUAL",
        at=NOON,
        amount_minor=45_000,
        reason="AMOUNT_MISMATCH",
        attempts=(attempt(manual, 1, "simpay-fast", "UNKNOWN", 3000),),
    )


def _channels() -> router_pb2.ListChannelsResponse:
    statuses = (router_pb2.CHANNEL_STATUS_ENABLED,) * 2 + (router_pb2.CHANNEL_STATUS_DRAINED,)
    names = ("WeChat Pay", "Simpay Fast", "Simpay Cheap")
    return router_pb2.ListChannelsResponse(
        channels=[
            router_pb2.Channel(
                channel_id=channel_id,
                display_name=name,
                status=status,
                fee=router_pb2.FeeSchedule(rate_ppm=rate_ppm),
            )
            for channel_id, name, status, rate_ppm in zip(
                CHANNELS, names, statuses, (6_000, 5_500, 3_000), strict=True
            )
        ]
    )


def _stats() -> router_pb2.GetChannelStatsResponse:
    return router_pb2.GetChannelStatsResponse(
        stats=[
            router_pb2.ChannelStats(
                channel_id=channel_id,
                method=method_pb2.PAYMENT_METHOD_WECHAT_QR,
                samples=samples,
                success_rate=rate,
            )
            for channel_id, samples, rate in zip(
                CHANNELS, (212, 340, 48), (0.993, 0.981, 0.612), strict=True
            )
        ]
    )


def _trial_balance() -> account_pb2.GetTrialBalanceResponse:
    lines = (
        ("CHANNEL_RECEIVABLE", 3, 21_874_350, 1_204_000),
        ("IN_TRANSIT", 1, 500_000, 500_000),
        ("CHANNEL_COST", 1, 112_410, 0),
        ("MERCHANT_PENDING", 3, 1_338_210, 20_874_350),
        ("MERCHANT_AVAILABLE", 3, 640_000, 1_740_000),
        ("FEE_INCOME", 1, 0, 146_620),
        ("SUSPENSE", 1, 0, 0),
    )
    return account_pb2.GetTrialBalanceResponse(
        lines=[
            account_pb2.TrialBalanceLine(
                role=account_pb2.AccountRole.Value(f"ACCOUNT_ROLE_{role}"),
                currency="CNY",
                accounts=count,
                debits_minor=debits,
                credits_minor=credits_,
            )
            for role, count, debits, credits_ in lines
        ],
        imbalance_minor=0,
        transfers_count=1_482,
    )


def _accounts() -> account_pb2.ListAccountsResponse:
    ids = ("channel/wechat-main/receivable/CNY", "merchant/mer_teahouse/available/CNY")
    roles = (
        account_pb2.ACCOUNT_ROLE_CHANNEL_RECEIVABLE,
        account_pb2.ACCOUNT_ROLE_MERCHANT_AVAILABLE,
    )
    return account_pb2.ListAccountsResponse(
        accounts=[
            account_pb2.Account(account_id=account_id, role=role, currency="CNY")
            for account_id, role in zip(ids, roles, strict=True)
        ],
        balances=[
            account_pb2.Balance(account_id=ids[0], currency="CNY", posted_minor=12_430_250),
            account_pb2.Balance(
                account_id=ids[1], currency="CNY", posted_minor=740_000, held_minor=50_000
            ),
        ],
    )


def _differences() -> clearing_pb2.ListDifferencesResponse:
    return clearing_pb2.ListDifferencesResponse(
        differences=[
            clearing_pb2.Difference(
                difference_id="diff_1",
                kind=clearing_pb2.DIFFERENCE_KIND_AMOUNT,
                channel_id="wechat-main",
                business_date=DAY,
                out_ref="pay01A1",
                subject_id=f"pay_01jd8m5q{17:018d}",
                our_amount=money(12_800),
                channel_amount=money(12_300),
                detail="We booked 128.00 CNY, the bill says 123.00 CNY: 5.00 CNY less.",
            ),
            clearing_pb2.Difference(
                difference_id="diff_2",
                kind=clearing_pb2.DIFFERENCE_KIND_LONG,
                channel_id="simpay-fast",
                business_date=DAY,
                out_ref="pay01jd8m5q000000000000000099A1",
                channel_amount=money(4_580),
                detail="The bill has 45.80 CNY that we do not know <of>.",
            ),
        ]
    )


def _day_report() -> clearing_pb2.GetDayReportResponse:
    return clearing_pb2.GetDayReportResponse(
        report=clearing_pb2.DayReport(
            business_date=DAY,
            payments_count=577,
            matched_count=575,
            differences_count=2,
            differences_open_count=2,
            vouchers_count=9,
            closed=True,
            channels=[
                clearing_pb2.ChannelReport(
                    channel_id=channel_id,
                    currency="CNY",
                    items_count=items,
                    lines_count=lines,
                    matched_count=items - differing,
                    differences_count=differing,
                    statement_state="FETCHED",
                )
                for channel_id, items, lines, differing in (
                    ("simpay-fast", 402, 403, 1),
                    ("wechat-main", 120, 120, 1),
                    ("simpay-cheap", 55, 55, 0),
                )
            ],
        )
    )


def _batches() -> clearing_pb2.ListBatchesResponse:
    return clearing_pb2.ListBatchesResponse(
        batches=[
            clearing_pb2.Batch(
                batch_id=f"set_01jd8{number}",
                merchant_id=merchant_id,
                currency="CNY",
                business_date=DAY,
                settle_date="2026-11-23",
                items_count=192,
                gross_minor=gross,
                fees_minor=gross * 6 // 1000,
                net_minor=gross - gross * 6 // 1000,
                state=clearing_pb2.Batch.STATE_SETTLED,
            )
            for number, (merchant_id, gross) in enumerate(
                (
                    ("mer_bicycles", 7_120_400),
                    ("mer_bookshop", 6_010_000),
                    ("mer_teahouse", 5_998_020),
                )
            )
        ]
    )


def _cases() -> risk_pb2.ListCasesResponse:
    return risk_pb2.ListCasesResponse(
        cases=[
            risk_pb2.Case(
                case_id="case_1",
                evaluation=risk_pb2.Evaluation(
                    operation=method_pb2.OPERATION_PAYMENT,
                    merchant_id="mer_bicycles",
                    amount=money(6_800_000),
                    subject_id="pay_01jd8m5qreview000000000001",
                ),
                fired_rules=[
                    risk_pb2.FiredRule(
                        rule_id="single-50k", detail="68,000.00 CNY is above the limit of 50,000.00"
                    )
                ],
                state=risk_pb2.Case.STATE_OPEN,
                opened_at=convert.to_timestamp(NOON),
            )
        ]
    )
