"""Checks of what comes in, beyond the contract's own rules; one spelling for each subject."""

import dataclasses
import ipaddress
from datetime import datetime

from libs import money
from services.risk.domain import errors
from services.risk.domain.model import (
    DayLimit,
    Evaluation,
    ListEntry,
    Operation,
    Rule,
    SingleLimit,
    SubjectKind,
)

BLOCK_LIST_RULE_ID = "block-list"
ALLOW_LIST_RULE_ID = "allow-list"
WATCH_LIST_RULE_ID = "watch-list"
VELOCITY_UNAVAILABLE_RULE_ID = "velocity-unavailable"
RESERVED_RULE_IDS = frozenset(
    {BLOCK_LIST_RULE_ID, ALLOW_LIST_RULE_ID, WATCH_LIST_RULE_ID, VELOCITY_UNAVAILABLE_RULE_ID}
)
COUNTRY_LENGTH = 2
TEXT_FIELDS = (
    "evaluation_id",
    "merchant_id",
    "customer_id",
    "ip",
    "country",
    "device_id",
    "payer_token",
    "payee_account",
    "subject_id",
)


def checked_evaluation(evaluation: Evaluation) -> Evaluation:
    """The evaluation with its subjects in one spelling.

    Raises UnknownCurrency, MethodRequired, BadAddress, BadCountry, BadText; their fields are named
    from the evaluation on: "amount.currency".
    """
    for name in TEXT_FIELDS:
        # The database cannot hold it, and one such item must not fail a whole batch.
        if "\x00" in getattr(evaluation, name):
            raise errors.BadText(field=name)
    if not money.is_currency(evaluation.currency):
        raise errors.UnknownCurrency(field="amount.currency")
    if evaluation.operation is Operation.PAYMENT and not evaluation.method:
        raise errors.MethodRequired(field="method")
    ip, country = evaluation.ip, evaluation.country
    return dataclasses.replace(
        evaluation,
        ip=one_spelling(SubjectKind.IP, ip, field="ip") if ip else "",
        country=one_spelling(SubjectKind.COUNTRY, country, field="country") if country else "",
    )


def checked_entry(entry: ListEntry, now: datetime) -> ListEntry:
    """The entry with its value in one spelling. Raises BadAddress, BadCountry, EntryExpired."""
    if not entry.is_in_force(now):
        raise errors.EntryExpired(field="entry.expires_at")
    value = one_spelling(entry.kind, entry.value, field="entry.value")
    return dataclasses.replace(entry, value=value)


def checked_rule(rule: Rule) -> Rule:
    """The rule itself. Raises RuleIdReserved, UnknownCurrency, CurrencyRequired, BoundRequired."""
    if rule.rule_id in RESERVED_RULE_IDS:
        raise errors.RuleIdReserved(field="rule.rule_id")
    if rule.currency and not money.is_currency(rule.currency):
        raise errors.UnknownCurrency(field="rule.currency")
    check = rule.check
    if isinstance(check, DayLimit) and not (check.amount_maximum_minor or check.count_maximum):
        raise errors.BoundRequired(field="rule.day_limit")
    bounds_amounts = isinstance(check, SingleLimit) or (
        isinstance(check, DayLimit) and check.amount_maximum_minor > 0
    )
    if bounds_amounts and not rule.currency:
        raise errors.CurrencyRequired(field="rule.currency")
    return rule


def one_spelling(kind: SubjectKind, value: str, *, field: str) -> str:
    """The value as it is compared and counted, so that no other spelling slips past a list."""
    match kind:
        case SubjectKind.IP:
            return _address(value, field)
        case SubjectKind.COUNTRY:
            if not (len(value) == COUNTRY_LENGTH and value.isascii() and value.isalpha()):
                raise errors.BadCountry(field=field)
            return value.upper()
        case _:
            return value


def _address(value: str, field: str) -> str:
    try:
        address = ipaddress.ip_address(value.strip())
    except ValueError:
        raise errors.BadAddress(field=field) from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
