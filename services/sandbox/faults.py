"""Faults on request: who is to be hit, how often, and a log of every hit."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import prometheus_client

from services.sandbox.book import Book
from services.sandbox.clock import BusinessClock, now_ms, rfc3339
from services.sandbox.records import BookRow

FaultName = Literal[
    "down",
    "slow",
    "error_5xx",
    "rate_limited",
    "timeout_after_charge",
    "commit_then_error",
    "duplicate_callback",
    "lost_callback",
    "bad_signature",
    "bill_wrong_amount",
    "bill_missing_row",
    "bill_truncated",
]
BILL_ROW_FAULTS = ("bill_wrong_amount", "bill_missing_row")

# Where a fault strikes when the order does not say: an untargeted "timed out after charging" must
# not be used up by a refund, nor an untargeted bad signature by a callback.
_OPERATION_DEFAULTS = {
    "timeout_after_charge": "charge",
    "commit_then_error": "charge",
    "bad_signature": "answer",
}

_fired_total = prometheus_client.Counter(
    "fisc_sandbox_faults_fired", "Faults that struck.", ["account", "fault"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A standing order to misbehave; `remaining` None means until cleared."""

    fault_id: int
    account_id: str
    fault: str
    operation: str | None
    out_ref: str | None
    remaining: int | None
    latency_ms: int

    def strikes(self, account_id: str, fault: str, operation: str, out_ref: str) -> bool:
        """Whether this order applies to the moment described."""
        if (self.account_id, self.fault) != (account_id, fault):
            return False
        if self.out_ref is not None and self.out_ref != out_ref:
            return False
        wanted = self.operation
        if wanted is None and self.out_ref is None:
            wanted = _OPERATION_DEFAULTS.get(fault)
        return wanted is None or wanted == operation


class FaultBoard:
    """Standing faults (kept in the book) and the log of those that fired."""

    def __init__(self, book: Book, clock: BusinessClock) -> None:
        self._book = book
        self._clock = clock
        self._faults = [
            Fault(
                fault_id=row[0],
                account_id=row[1],
                fault=row[2],
                operation=row[3],
                out_ref=row[4],
                remaining=row[5],
                latency_ms=row[6],
            )
            for row in book.execute(
                "SELECT fault_id, account_id, fault, operation, out_ref, remaining, latency_ms"
                " FROM fault ORDER BY fault_id"
            )
        ]

    def add(
        self,
        *,
        account_id: str,
        fault: str,
        operation: str | None = None,
        out_ref: str | None = None,
        count: int | None = None,
        latency_ms: int = 0,
    ) -> Fault:
        """Order a fault; it strikes `count` times, or until cleared."""
        fault_id = self._book.insert(
            "INSERT INTO fault (account_id, fault, operation, out_ref, remaining, latency_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(account_id, fault, operation, out_ref, count, latency_ms),
        )
        added = Fault(
            fault_id=fault_id,
            account_id=account_id,
            fault=fault,
            operation=operation,
            out_ref=out_ref,
            remaining=count,
            latency_ms=latency_ms,
        )
        self._faults.append(added)
        return added

    def clear(self, account_id: str | None) -> int:
        """Lift an account's faults (None: everybody's), and correct its bills; how many stood."""
        stood = len(self._faults)
        self._faults = [
            fault
            for fault in self._faults
            if account_id is not None and fault.account_id != account_id
        ]
        for table in ("fault", "bill_alteration"):
            self._book.execute(
                f"DELETE FROM {table} WHERE ?1 IS NULL OR account_id = ?1", account_id
            )
        return stood - len(self._faults)

    def standing(self) -> list[Fault]:
        """Faults still ordered."""
        return list(self._faults)

    def stands(self, account_id: str, fault: str) -> bool:
        """Whether the account has such a fault until cleared; does not use it up."""
        return any(
            order.remaining is None and order.strikes(account_id, fault, "", "")
            for order in self._faults
        )

    def take(
        self, account_id: str, fault: str, operation: str, out_ref: str, detail: str = ""
    ) -> Fault | None:
        """The fault that strikes here, if any: counted down and logged."""
        for index, order in enumerate(self._faults):
            if not order.strikes(account_id, fault, operation, out_ref):
                continue
            if order.remaining is not None:
                self._count_down(index, order)
            self._log(order, operation, out_ref, detail)
            return order
        return None

    def bill_alterations(self, account_id: str, day: date, refs: list[str]) -> dict[str, str]:
        """Reference → fault for the rows of the day's bill that go out wrong, always the same."""
        for fault in BILL_ROW_FAULTS if refs else ():
            for order in list(self._faults):
                if (order.account_id, order.fault) != (account_id, fault):
                    continue
                target = order.out_ref or refs[len(refs) // 2]
                known = self._alterations(account_id, day)
                if target not in refs or target in known:
                    continue
                if self.take(account_id, fault, "bill", target, day.isoformat()):
                    self._book.execute(
                        "INSERT OR IGNORE INTO bill_alteration VALUES (?, ?, ?, ?)",
                        *(account_id, day.isoformat(), fault, target),
                    )
        return self._alterations(account_id, day)

    def fired(self, account_id: str | None = None) -> list[BookRow]:
        """The log of faults that struck, oldest first."""
        names = ("account_id", "fault", "operation", "out_ref", "detail", "business_at", "real_ms")
        rows = self._book.execute(
            f"SELECT {', '.join(names)} FROM fired_fault"
            " WHERE ?1 IS NULL OR account_id = ?1 ORDER BY fired_id",
            account_id,
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _alterations(self, account_id: str, day: date) -> dict[str, str]:
        rows = self._book.execute(
            "SELECT out_ref, fault FROM bill_alteration WHERE account_id = ? AND bill_date = ?",
            *(account_id, day.isoformat()),
        )
        return {str(out_ref): str(fault) for out_ref, fault in rows}

    def _count_down(self, index: int, order: Fault) -> None:
        remaining = (order.remaining or 1) - 1
        if remaining == 0:
            del self._faults[index]
            self._book.execute("DELETE FROM fault WHERE fault_id = ?", order.fault_id)
        else:
            self._faults[index] = replace(order, remaining=remaining)
            self._book.execute(
                "UPDATE fault SET remaining = ? WHERE fault_id = ?", remaining, order.fault_id
            )

    def _log(self, order: Fault, operation: str, out_ref: str, detail: str) -> None:
        _fired_total.labels(account=order.account_id, fault=order.fault).inc()
        self._book.execute(
            "INSERT INTO fired_fault"
            " (account_id, fault, operation, out_ref, detail, business_at, real_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(order.account_id, order.fault, operation, out_ref, detail),
            *(rfc3339(self._clock.now()), now_ms()),
        )
