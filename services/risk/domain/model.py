"""The words of risk. Enum numbers are those of the contract, and of the database."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime


class Verdict(enum.IntEnum):
    """What risk says; the larger, the severer."""

    ALLOW = 1
    REVIEW = 2
    DENY = 3


class Operation(enum.IntEnum):
    """What is asked of a channel."""

    PAYMENT = 1
    REFUND = 2
    PAYOUT = 3
    AUTHORIZATION = 4


class SubjectKind(enum.IntEnum):
    """What a list entry or a counter is about."""

    CUSTOMER = 1
    IP = 2
    COUNTRY = 3
    DEVICE = 4
    PAYER = 5
    PAYEE = 6
    MERCHANT = 7


class ListName(enum.IntEnum):
    """Which list."""

    BLOCK = 1
    ALLOW = 2
    WATCH = 3


class CaseState(enum.IntEnum):
    """Where a case stands."""

    OPEN = 1
    APPROVED = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An operation to judge.

    An empty text means unknown; the amount is positive, in minor units.
    """

    evaluation_id: str
    merchant_id: str
    operation: Operation
    currency: str
    amount_minor: int
    method: int = 0
    """Number of fisc.common.v1.PaymentMethod; risk only passes it on."""
    customer_id: str = ""
    ip: str = ""
    country: str = ""
    device_id: str = ""
    payer_token: str = ""
    payee_account: str = ""
    subject_id: str = ""

    def subject(self, kind: SubjectKind) -> str:
        """The value of one kind of subject; empty if unknown."""
        match kind:
            case SubjectKind.CUSTOMER:
                return self.customer_id
            case SubjectKind.IP:
                return self.ip
            case SubjectKind.COUNTRY:
                return self.country
            case SubjectKind.DEVICE:
                return self.device_id
            case SubjectKind.PAYER:
                return self.payer_token
            case SubjectKind.PAYEE:
                return self.payee_account
            case SubjectKind.MERCHANT:
                return self.merchant_id

    def is_same_operation(self, other: "Evaluation") -> bool:
        """Whether both ask for the same money to move; what is known around it may differ."""
        return (self.merchant_id, self.operation, self.currency, self.amount_minor) == (
            other.merchant_id,
            other.operation,
            other.currency,
            other.amount_minor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleLimit:
    """Fires for an operation above the amount."""

    amount_maximum_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLimit:
    """Fires when the subject's day would rise above a bound; 0 is no bound."""

    subject: SubjectKind
    amount_maximum_minor: int
    count_maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VelocityLimit:
    """Fires for more operations of the subject than the maximum in the last window_s seconds."""

    subject: SubjectKind
    window_s: int
    count_maximum: int


Check = SingleLimit | DayLimit | VelocityLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One check, for the operations it applies to.

    Empty merchant or currency, and no operation, mean all.
    """

    rule_id: str
    version: int
    merchant_id: str
    operation: Operation | None
    currency: str
    verdict: Verdict
    enabled: bool
    check: Check
    description: str

    def applies_to(self, evaluation: Evaluation) -> bool:
        """Whether the operation is one this rule looks at."""
        return (
            (not self.merchant_id or self.merchant_id == evaluation.merchant_id)
            and (self.operation is None or self.operation is evaluation.operation)
            and (not self.currency or self.currency == evaluation.currency)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """A subject on a list, for one merchant or (empty) for all."""

    entry_id: str
    list_name: ListName
    kind: SubjectKind
    value: str
    merchant_id: str
    note: str
    expires_at: datetime | None

    def is_in_force(self, now: datetime) -> bool:
        """Whether the entry has not expired."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """The enabled rules and the list entries that were in force at one revision of both."""

    revision: int
    rules: Sequence[Rule]
    entries: Mapping[tuple[SubjectKind, str], Sequence[ListEntry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiredRule:
    """A rule that had something to say, and its sentence with the figures."""

    rule_id: str
    version: int
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The judgement of one evaluation; case_id is empty unless a person must decide."""

    evaluation_id: str
    verdict: Verdict
    fired_rules: Sequence[FiredRule]
    case_id: str
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An operation that waits for a person, or waited."""

    case_id: str
    evaluation: Evaluation
    fired_rules: Sequence[FiredRule]
    state: CaseState
    decided_by: str
    note: str
    opened_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True, slots=True, order=True)
class VelocityKey:
    """One sliding-window counter."""

    rule_id: str
    subject_kind: int
    merchant_scope: str
    subject: str


@dataclass(frozen=True, slots=True, order=True)
class DayKey:
    """One day's total: whose, of which operations. Scopes are the rule's: empty and 0 mean all."""

    day: date
    merchant_scope: str
    operation_scope: int
    subject_kind: int
    subject: str
    currency_scope: str


@dataclass(frozen=True, slots=True)
class DayTotal:
    """What was added to a day: a sum in minor units and a number of operations."""

    amount_minor: int = 0
    count: int = 0

    def plus(self, amount_minor: int) -> "DayTotal":
        """With one more operation of this amount."""
        return DayTotal(self.amount_minor + amount_minor, self.count + 1)

    def minus(self, other: "DayTotal") -> "DayTotal":
        """Without what `other` holds."""
        return DayTotal(self.amount_minor - other.amount_minor, self.count - other.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict with its reasons, and the day totals in which the operation now counts."""

    evaluation: Evaluation
    verdict: Verdict
    fired_rules: Sequence[FiredRule]
    held_days: Sequence[DayKey] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a judged operation ended."""

    evaluation_id: str
    succeeded: bool
