"""Mappings: on which real account a virtual one stands, from a day on.

A mapping holds until the account's next one, so that no two overlap. Of several from the same day the last
word counts; the others stay on record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from libs.errors import FiscError
from services.account.domain import errors
from services.account.domain.accounts import Account
from services.account.domain.mirrors import Part, part_of
from services.account.domain.real_accounts import RealAccount, RealAccountState


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedMapping:
    """What is said of one account; no real account means that it follows its parent's."""

    account_id: str
    real_account_id: str
    valid_from: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRecord:
    """What was said, as it is kept for ever."""

    account_id: str
    real_account_id: str
    valid_from: date
    revision: int
    request_id: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedMapping:
    """A record with its place among the account's others."""

    record: MappingRecord
    valid_until: date | None
    is_replaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingVerdict:
    """What became of a mapping."""

    account_id: str
    replayed: bool = False
    error: FiscError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingBook:
    """What deciding mappings takes to see."""

    accounts: Mapping[str, Account]
    real_accounts: Mapping[str, RealAccount]
    known: Mapping[str, MappingRecord]
    """What this request has said before, by account."""
    revisions: Mapping[tuple[str, date], int]
    """How often something was said of an account from a day on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """One verdict for each mapping, and what is to be written."""

    verdicts: Sequence[MappingVerdict]
    records: Sequence[MappingRecord]


def map_accounts(
    book: MappingBook, requested: Sequence[AskedMapping], *, request_id: str, now: datetime
) -> Mapped:
    """Decide the mappings in order. Raises nothing: every refusal is a verdict."""
    records = dict(book.known)
    verdicts: list[MappingVerdict] = []
    for asked in requested:
        record = records.get(asked.account_id)
        error: FiscError | None = None
        if record is not None:
            if (field := _difference(record, asked)) is not None:
                error = errors.RequestIdReused(field=field)
        else:
            day = parse_day(asked.valid_from)
            error = _refusal(book, asked)
            if day is None:
                error = errors.InvalidDay(field="valid_from")
            elif error is None:
                records[asked.account_id] = MappingRecord(
                    account_id=asked.account_id,
                    real_account_id=asked.real_account_id,
                    valid_from=day,
                    revision=book.revisions.get((asked.account_id, day), 0),
                    request_id=request_id,
                    reason=asked.reason,
                    recorded_at=now,
                )
        verdicts.append(
            MappingVerdict(
                account_id=asked.account_id,
                replayed=record is not None and error is None,
                error=error,
            )
        )
    return Mapped(
        verdicts=verdicts,
        records=[record for name, record in records.items() if name not in book.known],
    )


def parse_day(text: str) -> date | None:
    """Read YYYY-MM-DD; None if it is no day of the calendar."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _refusal(book: MappingBook, asked: AskedMapping) -> FiscError | None:
    account = book.accounts.get(asked.account_id)
    if account is None:
        return errors.AccountNotFound(field="account_id", account_id=asked.account_id)
    if part_of(account.role) is Part.NONE:
        return errors.AccountNotMappable(field="account_id", role=account.role.value)
    if not asked.real_account_id:
        return None
    real = book.real_accounts.get(asked.real_account_id)
    if real is None:
        return errors.RealAccountNotFound(
            field="real_account_id", real_account_id=asked.real_account_id
        )
    if real.state is RealAccountState.CLOSED:
        return errors.RealAccountClosed(
            field="real_account_id", real_account_id=asked.real_account_id
        )
    if real.currency != account.currency:
        return errors.CurrencyMismatch(
            "the real account is kept in another currency",
            field="real_account_id",
            currency=real.currency,
        )
    if real.tenant_id != account.tenant_id:
        return errors.BookMismatch("the real account is another tenant's", field="real_account_id")
    return None


def _difference(record: MappingRecord, asked: AskedMapping) -> str | None:
    pairs = (
        ("real_account_id", record.real_account_id, asked.real_account_id),
        ("valid_from", record.valid_from.isoformat(), asked.valid_from),
        ("reason", record.reason, asked.reason),
    )
    return next((field for field, known, wanted in pairs if known != wanted), None)
