"""What operators set up is in the audit chain, and what is known of a subject reads as its history."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from libs.audit import NewRecord
from libs.clock import FrozenClock
from libs.db.pool import Pool, open_pool
from libs.ids import SequentialIds
from libs.saga.table import Saved
from services.gateway.domain import payment as payments
from services.gateway.domain.capability import Feature
from services.gateway.domain.errors import SubjectNotFound
from services.gateway.domain.merchant import ChannelAccount, Merchant
from services.gateway.domain.neighbours import LedgerAccount
from services.gateway.domain.payment import Verdicts
from services.gateway.domain.payment_flow import open_payment
from services.gateway.handlers import messages
from services.gateway.store.operators import OperatorStore
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore
from services.gateway.usecases.inspection import Inspection
from services.gateway.usecases.operations import ChannelAccounts, Merchants
from tests.integration.gateway.desk import NOW, Tokens
from tests.unit.services.gateway.domain.orders import PAYMENT

FreshDatabase = Callable[[str], Awaitable[str]]
SECRET = "the channel's secret"


class Ledger:
    """Opens whatever it is asked to."""

    async def open_accounts(self, accounts: Sequence[LedgerAccount]) -> None: ...

    async def place_hold(self, order: Any) -> str:
        return ""


class Channels:
    """Any account can be built."""

    async def connector(self, channel_id: str) -> Any: ...

    def check(self, account: ChannelAccount, credentials: Mapping[str, str]) -> None: ...

    def offers(self, channel_id: str, method: str, feature: Feature) -> bool:
        return True

    async def renew(self, channel_id: str) -> None: ...


class Sealer:
    """Seals by turning round."""

    def seal(self, credentials: Mapping[str, str]) -> bytes:
        return str(dict(credentials))[::-1].encode()

    def unseal(self, sealed: bytes) -> dict[str, str]:
        return {}


@pytest.fixture
async def pool(fresh_database: FreshDatabase) -> AsyncIterator[Pool]:
    pool = await open_pool(await fresh_database("gateway"), size=4, application_name="test")
    yield pool
    await pool.close()


@pytest.fixture
def merchants(pool: Pool) -> Merchants:
    return Merchants(
        registry=Registry(pool),
        ledger=Ledger(),
        clock=FrozenClock(NOW),
        ids=SequentialIds(),
        secrets=Tokens(),
    )


WANTED = Merchant(
    merchant_id="mer-1",
    tenant_id="",
    display_name="Shop",
    currencies=("CNY",),
    risk_down_allowed=False,
    risk_down_limit_minor=0,
    created_at=NOW,
)


async def chain(pool: Pool) -> list[tuple[str, str, str, str]]:
    records = await OperatorStore(pool).list_records("", 0, 100)
    return [(each.actor_id, each.action, each.subject_id, each.detail) for each in records[::-1]]


async def test_who_made_a_merchant_and_its_keys_is_recorded_once(
    pool: Pool, merchants: Merchants
) -> None:
    for _ in range(2):
        await merchants.create(WANTED, "r-1", actor_id="maker")
    key_id, key = await merchants.create_api_key("mer-1", "r-2", "tills", actor_id="PLATFORM")
    for _ in range(2):
        await merchants.revoke_api_key(key_id, actor_id="checker")

    recorded = await chain(pool)

    assert [each[:3] for each in recorded] == [
        ("maker", "MERCHANT_CREATED", "mer-1"),
        ("PLATFORM", "API_KEY_CREATED", "mer-1"),
        ("checker", "API_KEY_REVOKED", key_id),
    ]
    assert recorded[1][3] == f'{{"key_id":"{key_id}","label":"tills"}}'
    assert all(key.rpartition(".")[2] not in each[3] for each in recorded)


async def test_every_change_of_a_channel_account_is_recorded_without_its_credentials(
    pool: Pool,
) -> None:
    accounts = ChannelAccounts(
        registry=Registry(pool),
        ledger=Ledger(),
        channels=Channels(),
        sealer=Sealer(),
        clock=FrozenClock(NOW),
    )
    account = ChannelAccount(
        channel_id="c-1",
        provider="simpay",
        base_url="http://c-1.example",
        currencies=("CNY",),
        zone="Asia/Shanghai",
    )

    for actor_id in ("maker", "checker"):
        await accounts.put(account, {"secret": SECRET}, actor_id=actor_id)

    recorded = await chain(pool)
    assert [each[:3] for each in recorded] == [
        ("maker", "CHANNEL_ACCOUNT_STORED", "c-1"),
        ("checker", "CHANNEL_ACCOUNT_STORED", "c-1"),
    ]
    assert all('"credential_names":["secret"]' in each[3] for each in recorded)
    assert all(SECRET not in each[3] for each in recorded)


async def test_what_is_known_of_a_payment_reads_as_its_history(pool: Pool) -> None:
    sagas, registry, operators = SagaStore(pool), Registry(pool), OperatorStore(pool)
    step = open_payment(PAYMENT, Verdicts(risk="ALLOW", case_id="", plan=("a", "b")), NOW)
    await sagas.payments.create([Saved(step=step, events=messages.encode_payment_events(step))])
    assert step.attempt is not None
    later = NOW + timedelta(seconds=5)
    inbox_id = await registry.receive_callback("a", {}, b"", later)
    await registry.settle_callback(
        inbox_id, event_id="e1", out_ref=step.attempt.out_ref, result="DUPLICATE"
    )
    await operators.add_record(
        NewRecord(
            at=later + timedelta(seconds=1),
            actor_id="maker",
            action="SAGA_RETRIED",
            subject_id=PAYMENT.payment_id,
            detail={},
        )
    )
    inspection = Inspection(
        registry=registry,
        store=sagas,
        rows={"payment": sagas.payments, "payout": sagas.payouts},
        operators=operators,
        clock=FrozenClock(NOW + timedelta(minutes=1)),
    )

    evidence = await inspection.evidence(PAYMENT.payment_id)

    assert (evidence.flow, evidence.subject.state) == ("payment", payments.PaymentState.SENT)
    texts = [text for _, text in evidence.history]
    assert texts[:-1] == [
        "Payment of 10.00 CNY by CARD asked for by mer_1 over a, then b.",
        f"Attempt 1: sent to a as {step.attempt.out_ref}.",
        "Attempt 1: a has not answered.",
        "a notified us of attempt 1: heard before, nothing changed.",
        "maker had it tried again.",
    ]
    assert texts[-1].startswith("Now SENT; due 2026-11-11 04:00:")
    with pytest.raises(SubjectNotFound):
        await inspection.evidence("pout_unknown")
