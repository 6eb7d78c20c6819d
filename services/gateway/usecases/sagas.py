"""The flows of this service, wired: payments, captures, refunds, payouts. Nothing is started by wiring them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from libs.clock import Clock
from libs.saga.driver import EventEncoder
from libs.saga.drives import Drives
from libs.saga.engine import Engine, Flow
from services.gateway.domain import follow_up, payment_flow, payout
from services.gateway.domain.capture import Capture
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt
from services.gateway.store.sagas import SagaStore
from services.gateway.usecases.callbacks import Teller
from services.gateway.usecases.doors import Door
from services.gateway.usecases.performers import (
    CapturePerformer,
    PaymentPerformer,
    PayoutPerformer,
    RefundPerformer,
)
from services.gateway.usecases.ports import Channels, Ledger, Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoders:
    """How each flow's facts go into the event log."""

    payment: EventEncoder[Payment]
    capture: EventEncoder[Capture]
    refund: EventEncoder[Refund]
    payout: EventEncoder[Payout]


class Sagas:
    """All of them."""

    def __init__(
        self,
        *,
        store: SagaStore,
        channels: Channels,
        risk: Risk,
        ledger: Ledger,
        encoders: Encoders,
        clock: Clock,
        notify_base_url: str,
    ) -> None:
        """`notify_base_url`: where channels reach our callback door."""
        self.drives = Drives()
        wired = partial(Flow, drives=self.drives, clock=clock)
        self.payments: Flow[Payment, Attempt] = wired(
            table=store.payments,
            decide=payment_flow.decide,
            perform=PaymentPerformer(channels, risk, clock, notify_base_url),
            encode=encoders.payment,
        )
        self.captures: Flow[Capture, Attempt] = wired(
            table=store.captures,
            decide=follow_up.decide,
            perform=CapturePerformer(channels, store.payments, notify_base_url),
            encode=encoders.capture,
        )
        self.refunds: Flow[Refund, Attempt] = wired(
            table=store.refunds,
            decide=follow_up.decide,
            perform=RefundPerformer(channels, store.payments, notify_base_url),
            encode=encoders.refund,
        )
        self.payouts: Flow[Payout, Attempt] = wired(
            table=store.payouts,
            decide=payout.decide,
            perform=PayoutPerformer(channels, risk, ledger, notify_base_url),
            encode=encoders.payout,
        )
        self.engine = Engine(
            (self.payments, self.captures, self.refunds, self.payouts), self.drives
        )
        self.doors: Mapping[str, Door[Any]] = {
            table.flow: Door(
                flow=table.flow,
                table=table,
                driver=self.engine.drivers[table.flow],
                drives=self.drives,
            )
            for table in store.tables
        }

    @property
    def tellers(self) -> Mapping[str, Teller]:
        """How to tell each flow what a channel said, by its name."""
        return {name: door.tell for name, door in self.doors.items()}

    @property
    def in_flight_count(self) -> int:
        """Sagas that callers have begun and that are under way; what sweepers took up is not counted."""
        return len(self.drives) - self.engine.recoveries_count
