"""The contracts: their stubs are fresh, every part is explained, every change can be repeated."""

from collections.abc import Iterator, Mapping
from typing import Final

import yaml
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from deploy import protos

READS: Final = ("Get", "List", "Search", "Watch", "Stream", "Fetch")
# Calls that change something without a request_id, and what makes them safe to repeat.
REPEATABLE: Final[Mapping[str, str]] = {
    "fisc.router.v1.RouterService.Route": "route_key",
    "fisc.router.v1.RouterService.RouteBatch": "route_key of each item",
    "fisc.gateway.v1.PaymentService.BatchCreatePayments": "request_id of each item",
    "fisc.gateway.v1.PayoutFileService.UploadPayoutFile": "payout_file_id and offset_bytes",
    "fisc.gateway.v1.OperationsService.DecideForce": "force_id: a proposal is decided once",
    "fisc.gateway.v1.OperationsService.SettleByBill": "channel, day and reference: a bill says the same",
    "fisc.gateway.v1.OperationsService.VerifyAuditChain": "changes nothing",
    "fisc.account.v1.StatementService.VerifyChain": "changes nothing",
    "fisc.risk.v1.RiskService.Evaluate": "evaluation_id",
    "fisc.risk.v1.RiskService.EvaluateBatch": "evaluation_id of each item",
}


def contracts() -> list[FileDescriptor]:
    """The descriptors of every contract, loaded through their stubs."""
    pool = descriptor_pool.Default()
    for path in protos.contracts():
        __import__(path.removesuffix(".proto").replace("/", ".") + "_pb2")
    return [pool.FindFileByName(path) for path in protos.contracts()]


def _methods() -> Iterator[MethodDescriptor]:
    for contract in contracts():
        for service in contract.services_by_name.values():
            yield from service.methods


def test_the_committed_stubs_are_what_the_contracts_say() -> None:
    assert protos.stale() == [], "run `make protos`"


def test_buf_finds_nothing_and_is_asked_about_comments() -> None:
    rules = yaml.safe_load((protos.PROTOS / "buf.yaml").read_text("utf-8"))["lint"]
    assert {"STANDARD", "COMMENTS"} <= set(rules["use"])
    assert not rules.keys() & {"except", "ignore", "ignore_only", "disallow_comment_ignores"}
    assert protos.lint() == 0


def test_every_change_carries_a_request_id() -> None:
    without = {
        method.full_name
        for method in _methods()
        if not method.name.startswith(READS)
        and "request_id" not in method.input_type.fields_by_name
    }
    assert without == set(REPEATABLE)
