"""What all processes of a world share: the database, the neighbours, the channels and the network to them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from libs.saga.flow import Decide, Signal
from services.gateway.domain.merchant import Merchant
from tests.simulation.channels import Channel
from tests.simulation.chaos import Chaos
from tests.simulation.connectors import Poison
from tests.simulation.database import Database
from tests.simulation.neighbours import LedgerNode, RiskNode, RouterNode
from tests.simulation.network import Network
from tests.simulation.pace import Pace


class Outside:
    """The same for every incarnation of every process."""

    def __init__(
        self,
        *,
        network: Network,
        chaos: Chaos,
        database: Database,
        risk: RiskNode,
        router: RouterNode,
        ledger: LedgerNode,
        channels: Mapping[str, Channel],
        merchants: Mapping[str, Merchant],
        keys: Mapping[str, tuple[str, str]],
    ) -> None:
        """`keys`: key_id to (merchant_id, secret_hash)."""
        self.network = network
        self.chaos = chaos
        self.database = database
        self.risk = risk
        self.router = router
        self.ledger = ledger
        self.channels = channels
        self.merchants = merchants
        self.keys = keys
        self.pace = Pace(network.loop, database)
        self.complaints: list[str] = []
        # The merchant's number of the one subject that a bug makes impossible to go on with; "" for none.
        self.poisoned_request_id = ""

    def buggy(self, decide: Decide[Any, Any]) -> Decide[Any, Any]:
        """The same decision, with a bug that breaks it for one subject."""

        def decide_or_break(subject: Any, attempt: Any, signal: Signal, now: datetime) -> Any:
            if subject.request_id == self.poisoned_request_id:
                raise Poison
            return decide(subject, attempt, signal, now)

        return decide_or_break
