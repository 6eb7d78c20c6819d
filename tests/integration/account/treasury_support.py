"""What the tests of the treasury share: short ways to ask."""

import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from fisc.account.v1 import account_pb2
from fisc.account.v1 import treasury_pb2 as pb
from libs.rpc import client
from libs.rpc.convert import to_timestamp
from tests.integration.account.support import TIMEOUT_S, Ledger, account

ICBC, BOC = "real/icbc", "real/boc"
SINCE = "2026-01-01"


def real(name: str, number: str = "", **other: str) -> pb.RealAccount:
    fields = {"provider": "ICBC", "holder": "Fisc Ltd", "currency": "CNY", **other}
    made = pb.RealAccount(
        real_account_id=name,
        kind=pb.REAL_ACCOUNT_KIND_BANK,
        account_number=number or f"6222{zlib.crc32(name.encode()):012d}",
    )
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def mapping(account_id: str, real_account_id: str, since: str = SINCE) -> pb.Mapping:
    return pb.Mapping(
        account_id=account_id, real_account_id=real_account_id, valid_from=since, reason="test"
    )


async def open_real(ledger: Ledger, *accounts: pb.RealAccount) -> Sequence[pb.RealAccountResult]:
    request = pb.OpenRealAccountsRequest(request_id="r", real_accounts=accounts)
    answer = await client.call(ledger.treasury.OpenRealAccounts, request, timeout_s=TIMEOUT_S)
    return answer.results


async def change_real(
    ledger: Ledger, request_id: str, name: str, state: pb.RealAccountState.ValueType
) -> pb.RealAccountChangeResult:
    change = pb.RealAccountChange(real_account_id=name, state=state, reason="test")
    request = pb.ChangeRealAccountsRequest(request_id=request_id, changes=[change])
    answer = await client.call(ledger.treasury.ChangeRealAccounts, request, timeout_s=TIMEOUT_S)
    return answer.results[0]


async def map_accounts(
    ledger: Ledger, request_id: str, *mappings: pb.Mapping
) -> Sequence[pb.MappingResult]:
    request = pb.MapAccountsRequest(request_id=request_id, mappings=mappings)
    answer = await client.call(ledger.treasury.MapAccounts, request, timeout_s=TIMEOUT_S)
    return answer.results


async def mirror(ledger: Ledger, name: str, at: datetime | None = None) -> pb.Mirror:
    request = pb.GetMirrorRequest(real_account_id=name, at_time=to_timestamp(at) if at else None)
    answer = await client.call(ledger.treasury.GetMirror, request, timeout_s=TIMEOUT_S)
    return answer.mirror


def parts(of: pb.Mirror) -> tuple[int, int, int, int, int]:
    """Claims, positions, bank, in transit, and the difference."""
    return (
        of.claims_minor,
        of.positions_minor,
        of.bank_minor,
        of.in_transit_minor,
        of.difference_minor,
    )


async def mirror_accounts(
    ledger: Ledger, name: str, at: datetime | None = None, *, page_size: int = 0
) -> list[pb.MirrorAccount]:
    """Every page."""
    found: list[pb.MirrorAccount] = []
    request = pb.ListMirrorAccountsRequest(
        real_account_id=name, at_time=to_timestamp(at) if at else None, page_size=page_size
    )
    while True:
        answer = await client.call(ledger.treasury.ListMirrorAccounts, request, timeout_s=TIMEOUT_S)
        found += answer.accounts
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


async def mirrors(ledger: Ledger, at: datetime | None = None) -> AsyncIterator[pb.Mirror]:
    request = pb.StreamMirrorsRequest(at_time=to_timestamp(at) if at else None)
    async for answer in ledger.treasury.StreamMirrors(request, timeout=TIMEOUT_S):
        for each in answer.mirrors:
            yield each


def position_account(
    account_id: str, role: account_pb2.AccountRole.ValueType, owner: str, counterparty: str
) -> account_pb2.Account:
    made = account(account_id, role)
    made.owner_id, made.counterparty_id, made.floor_minor = owner, counterparty, 0
    return made
