"""All use cases, put together out of the ports they need."""

from dataclasses import dataclass

from libs.clock import Clock
from libs.db.pool import Pool
from libs.ids import IdSource
from services.clearing.domain.days import WorkingDays
from services.clearing.domain.model import FeePlan
from services.clearing.usecases.closing import Closing
from services.clearing.usecases.events import Encoders, Events
from services.clearing.usecases.items import Items
from services.clearing.usecases.matching import Matching
from services.clearing.usecases.plans import Plans
from services.clearing.usecases.ports import Bills, Feed, Ledger
from services.clearing.usecases.reports import Reports
from services.clearing.usecases.sagas import Sagas
from services.clearing.usecases.settlement import Settlement
from services.clearing.usecases.statements import Statements
from services.clearing.usecases.sweeps import Sweeps
from services.clearing.usecases.telling import Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What lies outside."""

    pool: Pool
    clock: Clock
    ids: IdSource
    bills: Bills
    ledger: Ledger
    feed: Feed


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator has chosen."""

    default_plan: FeePlan
    settle_on_close: bool
    makeup_weekends: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """All that clearing does."""

    items: Items
    plans: Plans
    statements: Statements
    matching: Matching
    settlement: Settlement
    sagas: Sagas
    sweeps: Sweeps
    reports: Reports
    closing: Closing


def assemble(ports: Ports, items: Items, encoders: Encoders, terms: Terms) -> UseCases:
    """Put them together; nothing is awaited and nothing started."""
    pool, clock, ids = ports.pool, ports.clock, ports.ids
    events = Events(ids, encoders)
    statements = Statements(pool, ports.bills, clock, ids)
    matching = Matching(pool, events, clock, ids)
    reports = Reports(pool)
    sagas = Sagas(pool=pool, ledger=ports.ledger, events=events, clock=clock, ids=ids)
    settlement = Settlement(
        pool=pool,
        ledger=ports.ledger,
        sagas=sagas,
        clock=clock,
        ids=ids,
        working_days=WorkingDays(makeup_weekends=terms.makeup_weekends),
        default_plan=terms.default_plan,
        settle_on_close=terms.settle_on_close,
    )
    closing = Closing(
        pool=pool,
        feed=ports.feed,
        items=items,
        statements=statements,
        matching=matching,
        settlement=settlement,
        telling=Telling(pool, ports.bills, clock),
        reports=reports,
        events=events,
        clock=clock,
    )
    return UseCases(
        items=items,
        plans=Plans(pool, clock, ids),
        statements=statements,
        matching=matching,
        settlement=settlement,
        sagas=sagas,
        sweeps=Sweeps(pool=pool, sagas=sagas, clock=clock, ids=ids),
        reports=reports,
        closing=closing,
    )
