"""What arrives together is screened once and written in one commit; each caller hears of its own alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from libs.batching.coalescer import ITEMS_MAX
from libs.errors import FiscError, Unavailable
from libs.rpc import request_id
from libs.saga.drives import Drives
from services.gateway.domain import payment_flow
from services.gateway.domain.capability import Feature
from services.gateway.domain.errors import RequestIdReused
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.neighbours import RiskQuery, RiskVerdict, RouteQuery
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep, Verdicts
from services.gateway.domain.saga import Plan
from services.gateway.usecases.intake import Ask, Intake, Taken
from services.gateway.usecases.screening import Screening
from tests.unit.services.gateway.domain.orders import NOW, PAYMENT

AWAY = Unavailable("risk does not answer")


class EvaluationReused(FiscError):
    """As risk says it."""

    reason = "EVALUATION_ID_REUSED"


class Neighbours:
    """Risk and router: what they answer by merchant, and how often they were asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.verdicts: dict[str, RiskVerdict | FiscError] = {}
        self.plans: dict[str, Plan | FiscError] = {}

    async def evaluate(self, queries: Sequence[RiskQuery]) -> list[RiskVerdict | FiscError]:
        self.asked.append(len(queries))
        allow = RiskVerdict(verdict="ALLOW")
        return [self.verdicts.get(query.merchant_id, allow) for query in queries]

    async def case_state(self, case_id: str) -> str:
        raise AssertionError("nobody asks")

    async def route(self, queries: Sequence[RouteQuery]) -> list[Plan | FiscError]:
        return [self.plans.get(query.merchant_id, ("a",)) for query in queries]

    def offers(self, channel_id: str, method: str, feature: Feature) -> bool:
        """One channel reserves and does nothing else."""
        return channel_id != "reserves" or (method, feature) == ("CARD", Feature.AUTHORIZATION)


class Driver:
    """Rows by request, the commits they came in, and what was driven."""

    def __init__(self) -> None:
        self.rows: dict[str, Payment] = {}
        self.commits: list[int] = []
        self.driven: list[str] = []
        self.request_ids: list[str | None] = []
        self.refused = ""
        self.gone_on = asyncio.Event()

    async def create_all(self, steps: Sequence[PaymentStep]) -> list[Payment | BaseException]:
        self.commits.append(len(steps))
        return [
            ValueError("refused alone")
            if step.subject.merchant_id == self.refused
            else self.rows.setdefault(step.subject.request_id, step.subject)
            for step in steps
        ]

    def is_same(self, stored: Payment, subject: Payment) -> bool:
        return stored.payment_id == subject.payment_id

    async def drive(self, step: PaymentStep) -> Payment:
        await self.gone_on.wait()
        self.driven.append(step.subject.payment_id)
        self.request_ids.append(request_id.current())
        return step.subject


class House:
    def __init__(self) -> None:
        self.neighbours, self.driver, self.drives = Neighbours(), Driver(), Drives()
        self.intake: Intake[Payment] = Intake(
            screening=Screening(self.neighbours, self.neighbours, cast("Any", self.neighbours)),
            driver=cast("Any", self.driver),
            drives=self.drives,
            name="test",
        )

    def take(
        self, merchant_id: str = "m1", request_id: str = "r1", **policy: Any
    ) -> "asyncio.Task[Taken[Payment]]":
        return asyncio.create_task(self.intake.take(ask(merchant_id, request_id, **policy)))


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    async with house.intake.coalescer:
        yield house


def ask(merchant_id: str, request_id: str, **policy: Any) -> Ask[Payment]:
    terms: dict[str, Any] = {"risk_down_allowed": False, "risk_down_limit_minor": 0, **policy}
    merchant = Merchant(
        merchant_id=merchant_id,
        tenant_id="",
        display_name="",
        currencies=("CNY",),
        created_at=NOW,
        **terms,
    )
    common: dict[str, Any] = {
        "merchant_id": merchant_id,
        "operation": "PAYMENT",
        "amount_minor": 1000,
        "currency": "CNY",
        "method": "CARD",
    }

    def begin(risk: RiskVerdict, plan: Plan) -> PaymentStep:
        payment_id = f"pay_{merchant_id}{request_id}{id(risk)}"
        draft = replace(
            PAYMENT, payment_id=payment_id, merchant_id=merchant_id, request_id=request_id
        )
        verdicts = Verdicts(risk=risk.verdict, case_id=risk.case_id, plan=plan)
        return payment_flow.open_payment(draft, verdicts, NOW)

    return Ask(
        merchant=merchant,
        fingerprint=PAYMENT.fingerprint,
        risk_query=RiskQuery(evaluation_id=f"{merchant_id}:{request_id}", **common),
        route_query=RouteQuery(
            route_key=f"{merchant_id}:{request_id}", routing="CHEAPEST", **common
        ),
        open=begin,
    )


async def test_what_arrives_together_is_screened_once_and_written_in_one_commit(
    house: House,
) -> None:
    tasks = [house.take(request_id=f"r{number}") for number in range(5)]

    taken = [await task for task in tasks]

    assert (house.neighbours.asked, house.driver.commits) == ([5], [5])
    assert [each.subject.request_id for each in taken] == ["r0", "r1", "r2", "r3", "r4"]
    assert all(each.is_new and each.drive is not None for each in taken)


async def test_a_merchant_who_sends_a_flood_waits_for_it_himself(house: House) -> None:
    flood = [house.take("m1", f"r{number}") for number in range(2 * ITEMS_MAX)]
    other = house.take("m2", "other")

    await asyncio.wait([*flood, other])

    assert list(house.driver.rows).index("other") < ITEMS_MAX


async def test_what_was_taken_goes_on_even_when_its_caller_has_gone(house: House) -> None:
    task = house.take()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    house.driver.gone_on.set()
    await house.intake.coalescer.stop()
    await house.drives.drain()

    assert len(house.driver.driven) == 1


async def test_a_request_that_comes_again_is_answered_with_what_stands_and_not_driven_again(
    house: House,
) -> None:
    first = await house.take()
    again = await house.take()

    assert (again.subject, again.is_new, again.drive) == (first.subject, False, None)


async def test_what_is_driven_carries_the_request_id_of_its_call(house: House) -> None:
    house.driver.gone_on.set()
    tasks = []
    for number in (1, 2):
        request_id.enter(f"call-{number}")
        tasks.append(house.take(request_id=f"r{number}"))
    request_id.enter("another")

    await asyncio.wait(tasks)
    await house.drives.drain()

    assert house.driver.request_ids == ["call-1", "call-2"]


async def test_what_has_nothing_to_do_is_not_driven(house: House) -> None:
    house.neighbours.verdicts["m1"] = RiskVerdict(verdict="DENY")

    taken = await house.take()

    assert (taken.subject.state, taken.is_new, taken.drive) == (PaymentState.FAILED, True, None)


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (lambda house: house.neighbours.verdicts.update(bad=AWAY), Unavailable),
        (lambda house: house.neighbours.verdicts.update(bad=EvaluationReused()), RequestIdReused),
        (lambda house: house.neighbours.plans.update(bad=AWAY), Unavailable),
        (lambda house: setattr(house.driver, "refused", "bad"), ValueError),
    ],
    ids=["risk-away", "another-body", "router-away", "refused-by-the-database"],
)
async def test_trouble_of_one_is_nobody_elses(
    house: House, trouble: Callable[[House], None], error: type[Exception]
) -> None:
    trouble(house)
    good, bad, other = house.take("good"), house.take("bad", "r2"), house.take("other", "r3")

    with pytest.raises(error):
        await bad
    assert [(await each).subject.merchant_id for each in (good, other)] == ["good", "other"]


async def test_a_plan_holds_no_channel_whose_provider_would_refuse(house: House) -> None:
    house.neighbours.plans = {"m1": ("reserves", "a", "b"), "m2": ("reserves",)}
    house.driver.gone_on.set()

    first, second = await house.take("m1"), await house.take("m2", "r2")

    assert first.subject.plan == ("a", "b")
    assert (second.subject.state, second.subject.reason) == (PaymentState.FAILED, "NO_CHANNEL")


@pytest.mark.parametrize(
    ("allowed", "limit_minor", "is_taken"),
    [(True, 1000, True), (True, 999, False), (False, 1000, False)],
)
async def test_while_risk_is_away_a_merchants_own_policy_decides(
    house: House, allowed: bool, limit_minor: int, is_taken: bool
) -> None:
    house.neighbours.verdicts["m1"] = AWAY
    task = house.take(risk_down_allowed=allowed, risk_down_limit_minor=limit_minor)

    [answer] = await asyncio.wait_for(_settled(task), timeout=5)

    assert isinstance(answer, Taken) is is_taken


async def _settled(*tasks: "asyncio.Task[Any]") -> list[Any]:
    await asyncio.wait(tasks)
    return [task.exception() or task.result() for task in tasks]
