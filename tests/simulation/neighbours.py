"""Risk, router and account as the gateway meets them: over the network, each keeping what it decided under its id."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any, Protocol, TypeVar, cast

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.risk.v1 import risk_pb2, risk_pb2_grpc
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs.errors import DeadlineExceeded, ErrorKind, FiscError, RemoteError, Unavailable
from services.account.domain import batch, ledger
from services.account.domain.accounts import Balance, Role
from services.account.domain.batch import Book
from services.account.domain.commands import (
    Command,
    Hold,
    HoldVerdict,
    PlaceHold,
    Transfer,
    TransferVerdict,
    Verdict,
    VoidHold,
)
from services.account.handlers import convert
from services.gateway.domain import merchant
from services.gateway.domain.neighbours import RiskQuery, RiskVerdict, RouteQuery
from services.gateway.domain.saga import Plan
from services.gateway.workers.facts import BOOKING_ZONE
from tests.simulation.chaos import Chaos
from tests.simulation.history import History
from tests.simulation.network import LinkLost, LinkRefused, Network

RISK_TIMEOUT_S = 2.0
ROUTER_TIMEOUT_S = 1.0
CASE_OPEN_MAX_S = 40.0
CURRENCY = "CNY"
CURRENCIES = ("CNY", "USD")

T = TypeVar("T")


def bank_account(currency: str) -> str:
    """Where people book what they have moved by themselves."""
    return f"platform/bank/{currency}"


async def ask(
    network: Network, peer: str, operation: str, act: Callable[[], T], timeout_s: float
) -> T:
    """Raises DeadlineExceeded when nobody knows, Unavailable when nothing was sent."""
    try:
        return await network.exchange(peer, operation, act, timeout_s=timeout_s)
    except LinkLost:
        raise DeadlineExceeded from None
    except LinkRefused:
        raise Unavailable from None


class RiskNode:
    """Judges, and keeps cases for a person to decide."""

    def __init__(self, network: Network, chaos: Chaos, rng: Random) -> None:
        self.endings: dict[str, bool] = {}
        self.cases: dict[str, str] = {}
        self._verdicts: dict[str, tuple[RiskQuery, RiskVerdict]] = {}
        self._network = network
        self._chaos = chaos
        self._rng = rng

    def evaluate(self, query: RiskQuery) -> RiskVerdict:
        known = self._verdicts.get(query.evaluation_id)
        if known is not None:
            if known[0] != query:
                raise RemoteError(kind=ErrorKind.ALREADY_EXISTS, reason="EVALUATION_ID_REUSED")
            return known[1]
        chance = self._rng.random()
        verdict = RiskVerdict(verdict="ALLOW" if chance < 0.9 else "DENY")
        if 0.9 <= chance < 0.96:
            case_id = f"case-{query.evaluation_id}"
            self.cases[case_id] = "OPEN"
            verdict = RiskVerdict(verdict="REVIEW", case_id=case_id)
            self._network.loop.call_later(
                CASE_OPEN_MAX_S * self._rng.random(),
                self._decide,
                case_id,
                context=self._network.context,
            )
        self._verdicts[query.evaluation_id] = (query, verdict)
        return verdict

    def record(self, request: risk_pb2.RecordOutcomesRequest) -> risk_pb2.RecordOutcomesResponse:
        for outcome in request.outcomes:
            self.endings[outcome.evaluation_id] = outcome.succeeded
        return risk_pb2.RecordOutcomesResponse()

    def _decide(self, case_id: str) -> None:
        self.cases[case_id] = "APPROVED" if self._rng.random() < 0.7 else "REJECTED"
        self._chaos.counts["review decided"] += 1


class RouterNode:
    """Plans; the same key always gets the same plan."""

    def __init__(self, channel_ids: Sequence[str], rng: Random) -> None:
        self.outcomes: dict[str, bool] = {}
        self._channel_ids = channel_ids
        self._plans: dict[str, tuple[RouteQuery, Plan]] = {}
        self._rng = rng

    def route(self, query: RouteQuery) -> Plan:
        known = self._plans.get(query.route_key)
        if known is not None:
            if known[0] != query:
                raise RemoteError(kind=ErrorKind.ALREADY_EXISTS, reason="ROUTE_KEY_REUSED")
            return known[1]
        count = self._rng.choice((0, 1, 2, 2, 3, 3, 3)) if self._rng.random() < 0.5 else 3
        plan = tuple(self._rng.sample(self._channel_ids, count))
        self._plans[query.route_key] = (query, plan)
        return plan

    def record(
        self, request: router_pb2.RecordOutcomesRequest
    ) -> router_pb2.RecordOutcomesResponse:
        for outcome in request.outcomes:
            self.outcomes[outcome.attempt_id] = outcome.succeeded
        return router_pb2.RecordOutcomesResponse()


class LedgerNode:
    """The real engine of the ledger over rows in memory, one call a transaction."""

    def __init__(self, history: History, now: Callable[[], datetime]) -> None:
        self.balances: dict[str, Balance] = {}
        self.transfers: dict[str, Transfer] = {}
        self.holds: dict[str, Hold] = {}
        self.breaches: list[str] = []
        self._history = history
        self._now = now

    def open(self, account_id: str, role: Role, currency: str = CURRENCY) -> None:
        self.balances[account_id] = Balance(account_id=account_id, role=role, currency=currency)

    def open_accounts(
        self, request: account_pb2.OpenAccountsRequest
    ) -> account_pb2.OpenAccountsResponse:
        for account in request.accounts:
            if account.account_id not in self.balances:
                name = account_pb2.AccountRole.Name(account.role).removeprefix("ACCOUNT_ROLE_")
                self.open(account.account_id, Role(name), account.currency)
        results = [account_pb2.AccountResult(account=each) for each in request.accounts]
        return account_pb2.OpenAccountsResponse(results=results)

    def fund(self, merchant_id: str, amount_minor: int) -> None:
        transfer = Transfer(
            transfer_id=f"fund-{merchant_id}",
            debit_account_id=bank_account(CURRENCY),
            credit_account_id=merchant.available_account(merchant_id, CURRENCY),
            currency=CURRENCY,
            amount_minor=amount_minor,
        )
        self._book([transfer])

    def book_by_hand(self, transfer_id: str, sides: tuple[str, str], amount_minor: int) -> None:
        """As people book what they have moved themselves. `sides`: the accounts debited and credited."""
        debit, credit = sides
        transfer = Transfer(
            transfer_id=transfer_id,
            debit_account_id=debit,
            credit_account_id=credit,
            currency=self.balances[debit].currency,
            amount_minor=amount_minor,
        )
        self._book([transfer])

    def post(self, request: account_pb2.PostTransfersRequest) -> account_pb2.PostTransfersResponse:
        verdicts = self._book([convert.transfer_from_proto(item) for item in request.transfers])
        results = [convert.transfer_verdict_to_proto(cast(TransferVerdict, v)) for v in verdicts]
        return account_pb2.PostTransfersResponse(results=results)

    def place(self, request: account_pb2.PlaceHoldsRequest) -> account_pb2.PlaceHoldsResponse:
        commands = [PlaceHold(hold=convert.hold_from_proto(item)) for item in request.holds]
        return account_pb2.PlaceHoldsResponse(results=self._handle(commands))

    def capture(self, request: account_pb2.CaptureHoldsRequest) -> account_pb2.CaptureHoldsResponse:
        commands = [convert.capture_from_proto(item) for item in request.captures]
        return account_pb2.CaptureHoldsResponse(results=self._handle(commands))

    def void(self, request: account_pb2.VoidHoldsRequest) -> account_pb2.VoidHoldsResponse:
        commands = [VoidHold(hold_id=hold_id) for hold_id in request.hold_ids]
        return account_pb2.VoidHoldsResponse(results=self._handle(commands))

    def _handle(self, commands: Sequence[Command]) -> list[account_pb2.HoldResult]:
        return [
            convert.hold_verdict_to_proto(cast(HoldVerdict, verdict))
            for verdict in self._book(commands)
        ]

    def _book(self, commands: Sequence[Command]) -> Sequence[Verdict]:
        needs = batch.needs(commands)
        holds = {key: self.holds[key] for key in sorted(needs.hold_ids) if key in self.holds}
        account_ids = set(needs.account_ids)
        for hold in holds.values():
            account_ids |= {hold.debit_account_id, hold.credit_account_id}
        book = Book(
            balances={k: self.balances[k] for k in sorted(account_ids) if k in self.balances},
            transfers={k: self.transfers[k] for k in needs.transfer_ids if k in self.transfers},
            holds=holds,
        )
        now = self._now()
        day = now.astimezone(BOOKING_ZONE).date()
        decision = ledger.decide(book, commands, now=now, booking_day=day)
        self.balances.update({balance.account_id: balance for balance in decision.balances})
        self.holds.update({hold.hold_id: hold for hold in decision.holds_new})
        self.holds.update({hold.hold_id: hold for hold in decision.holds_changed})
        for booked in decision.booked:
            self.transfers[booked.transfer.transfer_id] = booked.transfer
            self._history.add(booked.transfer.transfer_id, "booked in the ledger")
        for hold in (*decision.holds_new, *decision.holds_changed):
            self._history.add(hold.hold_id, f"hold {hold.state} in the ledger")
        self._check()
        return decision.verdicts

    def _check(self) -> None:
        """I1 and I2, in every committed state."""
        nets_minor = dict.fromkeys(CURRENCIES, 0)
        for balance in self.balances.values():
            nets_minor[balance.currency] += balance.debits_minor - balance.credits_minor
            if balance.role.has_floor and balance.available_minor < 0:
                self.breaches.append(f"I2 {balance.account_id} stands at {balance.available_minor}")
        for currency, net_minor in nets_minor.items():
            if net_minor:
                self.breaches.append(f"I1 the ledger is off by {net_minor} {currency}")


class _Method(Protocol):
    def __call__(self, request: Any, **options: Any) -> Awaitable[Any]: ...


def _method(network: Network, peer: str, operation: str, act: Callable[[Any], Any]) -> _Method:
    def call(request: Any, **options: Any) -> Awaitable[Any]:
        return ask(network, peer, operation, lambda: act(request), options["timeout"])

    return call


class _Stub:
    """What a generated stub is to its user: a method each RPC."""

    def __init__(self, **methods: _Method) -> None:
        for name, method in methods.items():
            setattr(self, name, method)


class Neighbours:
    """One replica's way to its neighbours."""

    def __init__(
        self, network: Network, risk: RiskNode, router: RouterNode, ledger_node: LedgerNode
    ) -> None:
        self._network = network
        self._risk = risk
        self._router = router
        self.account_stub = cast(
            "account_pb2_grpc.AccountServiceAsyncStub",
            _Stub(
                PostTransfers=_method(network, "account", "post", ledger_node.post),
                PlaceHolds=_method(network, "account", "hold", ledger_node.place),
                CaptureHolds=_method(network, "account", "capture", ledger_node.capture),
                VoidHolds=_method(network, "account", "void", ledger_node.void),
                OpenAccounts=_method(network, "account", "open", ledger_node.open_accounts),
            ),
        )
        self.risk_stub = cast(
            "risk_pb2_grpc.RiskServiceAsyncStub",
            _Stub(RecordOutcomes=_method(network, "risk", "tell risk", risk.record)),
        )
        self.router_stub = cast(
            "router_pb2_grpc.RouterServiceAsyncStub",
            _Stub(RecordOutcomes=_method(network, "router", "tell router", router.record)),
        )

    async def evaluate(self, queries: Sequence[RiskQuery]) -> Sequence[RiskVerdict | FiscError]:
        act = lambda: [self._risk.evaluate(query) for query in queries]  # noqa: E731 -- it is a request, not a function
        try:
            return await ask(self._network, "risk", "evaluate", act, RISK_TIMEOUT_S)
        except FiscError as error:
            return [error] * len(queries)

    async def case_state(self, case_id: str) -> str:
        act = lambda: self._risk.cases[case_id]  # noqa: E731 -- it is a request, not a function
        return await ask(self._network, "risk", "case", act, RISK_TIMEOUT_S)

    async def route(self, queries: Sequence[RouteQuery]) -> Sequence[Plan | FiscError]:
        act = lambda: [self._router.route(query) for query in queries]  # noqa: E731 -- it is a request, not a function
        try:
            return await ask(self._network, "router", "route", act, ROUTER_TIMEOUT_S)
        except FiscError as error:
            return [error] * len(queries)
