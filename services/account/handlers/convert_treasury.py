"""Protobuf ↔ domain of real accounts, mappings, mirrors, positions and what is in transit."""

from fisc.account.v1 import account_pb2, treasury_pb2
from libs.errors import FiscError
from libs.rpc import convert
from services.account.domain.mappings import AskedMapping, DatedMapping, MappingVerdict
from services.account.domain.mirrors import Mirror, MirrorAccount, Part, part_of
from services.account.domain.positions import (
    IntercompanyKind,
    IntercompanyTransfer,
    IntercompanyVerdict,
    Position,
)
from services.account.domain.real_accounts import (
    RealAccount,
    RealAccountKind,
    RealAccountState,
    RealChange,
    RealChangeVerdict,
)
from services.account.domain.transit import TransitAccount
from services.account.handlers.convert import transfer_verdict_to_proto
from services.account.usecases.treasury import AskedRealAccount

_KIND_PREFIX = "REAL_ACCOUNT_KIND_"
_STATE_PREFIX = "REAL_ACCOUNT_STATE_"
_INTERCOMPANY_PREFIX = "INTERCOMPANY_KIND_"
_PARTS = {
    part: treasury_pb2.MirrorPart.Value(
        "MIRROR_PART_UNSPECIFIED" if part is Part.NONE else f"MIRROR_PART_{part}"
    )
    for part in Part
}


def real_account_from_proto(account: treasury_pb2.RealAccount) -> AskedRealAccount:
    """Read a real account to be made known."""
    kind = treasury_pb2.RealAccountKind.Name(account.kind).removeprefix(_KIND_PREFIX)
    return AskedRealAccount(
        real_account_id=account.real_account_id,
        kind=RealAccountKind(kind),
        provider=account.provider,
        account_number=account.account_number,
        holder=account.holder,
        currency=account.currency,
        tenant_id=account.tenant_id,
        display_name=account.display_name,
    )


def real_account_to_proto(account: RealAccount) -> treasury_pb2.RealAccount:
    """Show a real account; its number masked."""
    return treasury_pb2.RealAccount(
        real_account_id=account.real_account_id,
        kind=treasury_pb2.RealAccountKind.Value(_KIND_PREFIX + account.kind),
        provider=account.provider,
        masked_number=account.masked_number,
        holder=account.holder,
        currency=account.currency,
        tenant_id=account.tenant_id,
        display_name=account.display_name,
        state=_state(account.state),
        opened_at=convert.to_timestamp(account.opened_at),
    )


def real_result_to_proto(result: RealAccount | FiscError) -> treasury_pb2.RealAccountResult:
    """Show a real account, or why it could not be made known."""
    if isinstance(result, RealAccount):
        return treasury_pb2.RealAccountResult(real_account=real_account_to_proto(result))
    return treasury_pb2.RealAccountResult(error=convert.error_to_item(result))


def real_change_from_proto(change: treasury_pb2.RealAccountChange) -> RealChange:
    """Read what is to hold for a real account."""
    name = treasury_pb2.RealAccountState.Name(change.state).removeprefix(_STATE_PREFIX)
    return RealChange(
        real_account_id=change.real_account_id,
        state=RealAccountState(name),
        reason=change.reason,
    )


def real_change_verdict_to_proto(
    verdict: RealChangeVerdict,
) -> treasury_pb2.RealAccountChangeResult:
    """Show what became of a change."""
    return treasury_pb2.RealAccountChangeResult(
        real_account_id=verdict.real_account_id,
        changed=verdict.error is None,
        replayed=verdict.replayed,
        error=convert.error_to_item(verdict.error) if verdict.error else None,
        state=_state(verdict.state)
        if verdict.state
        else treasury_pb2.REAL_ACCOUNT_STATE_UNSPECIFIED,
    )


def mapping_from_proto(mapping: treasury_pb2.Mapping) -> AskedMapping:
    """Read what is said of an account."""
    return AskedMapping(
        account_id=mapping.account_id,
        real_account_id=mapping.real_account_id,
        valid_from=mapping.valid_from,
        reason=mapping.reason,
    )


def mapping_verdict_to_proto(verdict: MappingVerdict) -> treasury_pb2.MappingResult:
    """Show what became of a mapping."""
    return treasury_pb2.MappingResult(
        account_id=verdict.account_id,
        mapped=verdict.error is None,
        replayed=verdict.replayed,
        error=convert.error_to_item(verdict.error) if verdict.error else None,
    )


def mapping_to_proto(mapping: DatedMapping) -> treasury_pb2.Mapping:
    """Show what was said, and how long it holds."""
    record = mapping.record
    return treasury_pb2.Mapping(
        account_id=record.account_id,
        real_account_id=record.real_account_id,
        valid_from=record.valid_from.isoformat(),
        reason=record.reason,
        valid_until=mapping.valid_until.isoformat() if mapping.valid_until else "",
        revision=record.revision,
        replaced=mapping.is_replaced,
        recorded_at=convert.to_timestamp(record.recorded_at),
        request_id=record.request_id,
    )


def mirror_to_proto(mirror: Mirror) -> treasury_pb2.Mirror:
    """Show a comparison with what it is made of."""
    return treasury_pb2.Mirror(
        real_account_id=mirror.real_account_id,
        tenant_id=mirror.tenant_id,
        currency=mirror.currency,
        claims_minor=mirror.minor(Part.CLAIM),
        positions_minor=mirror.minor(Part.POSITION),
        bank_minor=mirror.minor(Part.BANK),
        in_transit_minor=mirror.minor(Part.IN_TRANSIT),
        difference_minor=mirror.difference_minor,
        accounts_count=mirror.accounts_count,
        lines=[
            treasury_pb2.MirrorLine(
                role=account_pb2.AccountRole.Value(f"ACCOUNT_ROLE_{line.role}"),
                part=_PARTS[part_of(line.role)],
                accounts=line.accounts,
                posted_minor=line.posted_minor,
            )
            for line in mirror.lines
        ],
        at=convert.to_timestamp(mirror.at),
    )


def mirror_account_to_proto(account: MirrorAccount) -> treasury_pb2.MirrorAccount:
    """Show an account that stands on a real one."""
    return treasury_pb2.MirrorAccount(
        account_id=account.account_id,
        role=account_pb2.AccountRole.Value(f"ACCOUNT_ROLE_{account.role}"),
        part=_PARTS[part_of(account.role)],
        currency=account.currency,
        posted_minor=account.posted_minor,
        sequence=account.sequence,
        mapped_by_account_id=account.mapped_by_account_id,
    )


def position_to_proto(position: Position) -> treasury_pb2.Position:
    """Show a position as both companies have it."""
    return treasury_pb2.Position(
        creditor_id=position.creditor_id,
        debtor_id=position.debtor_id,
        tenant_id=position.tenant_id,
        currency=position.currency,
        due_from_minor=position.due_from_minor,
        due_to_minor=position.due_to_minor,
        difference_minor=position.difference_minor,
        due_from_account_ids=position.due_from_account_ids,
        due_to_account_ids=position.due_to_account_ids,
    )


def intercompany_from_proto(asked: treasury_pb2.IntercompanyTransfer) -> IntercompanyTransfer:
    """Read what is to be done to a position."""
    kind = treasury_pb2.IntercompanyKind.Name(asked.kind).removeprefix(_INTERCOMPANY_PREFIX)
    return IntercompanyTransfer(
        intercompany_id=asked.intercompany_id,
        kind=IntercompanyKind(kind),
        due_from_account_id=asked.due_from_account_id,
        due_to_account_id=asked.due_to_account_id,
        creditor_account_id=asked.creditor_account_id,
        debtor_account_id=asked.debtor_account_id,
        currency=asked.amount.currency,
        amount_minor=asked.amount.amount_minor,
        reference=asked.reference,
        description=asked.description,
        effective_date=asked.effective_date,
    )


def intercompany_verdict_to_proto(
    verdict: IntercompanyVerdict,
) -> treasury_pb2.IntercompanyResult:
    """Show what became of both sides."""
    return treasury_pb2.IntercompanyResult(
        intercompany_id=verdict.intercompany_id,
        booked=verdict.is_booked,
        replayed=verdict.is_replayed,
        error=convert.error_to_item(verdict.error) if verdict.error else None,
        transfers=map(transfer_verdict_to_proto, verdict.transfers),
    )


def transit_to_proto(account: TransitAccount) -> treasury_pb2.InTransitAccount:
    """Show what of an account has not arrived."""
    oldest_at = account.oldest_at
    return treasury_pb2.InTransitAccount(
        account_id=account.account_id,
        currency=account.currency,
        posted_minor=account.posted_minor,
        items_count=account.items_count,
        items=[
            treasury_pb2.InTransitItem(
                reference=item.reference,
                amount_minor=item.amount_minor,
                since=convert.to_timestamp(item.since),
            )
            for item in account.items
        ],
        oldest_at=convert.to_timestamp(oldest_at) if oldest_at else None,
        earlier_minor=account.earlier_minor,
    )


def _state(state: RealAccountState) -> treasury_pb2.RealAccountState.ValueType:
    return treasury_pb2.RealAccountState.Value(_STATE_PREFIX + state)
