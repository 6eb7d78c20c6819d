"""The names the client takes are those of the contract, and its wall stands."""

import ast
import sys
from pathlib import Path
from typing import get_args

import pytest

from fisc import client
from fisc.client import client as client_module
from fisc.client import transport
from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import bulk_pb2, payment_pb2
from tests.architecture.tree import parse_file

ALLOWED_IMPORTS = {"fisc", "grpc", "grpc_status", "google"}


@pytest.mark.parametrize(
    ("names", "values", "prefix"),
    [
        (client.MethodName, method_pb2.PaymentMethod.keys(), "PAYMENT_METHOD_"),
        (client.RoutingName, payment_pb2.Routing.keys(), "ROUTING_"),
        (client.PaymentStateName, payment_pb2.Payment.State.keys(), "STATE_"),
    ],
)
def test_every_word_of_the_contract_can_be_said(
    names: object, values: list[str], prefix: str
) -> None:
    said = {f"{prefix}{name}" for name in get_args(names)}
    assert said == set(values) - {f"{prefix}UNSPECIFIED"}


def test_every_unary_method_is_sent_again_and_the_stream_is_not() -> None:
    service = payment_pb2.DESCRIPTOR.services_by_name["PaymentService"]
    unary = {method.name for method in service.methods if not method.server_streaming}
    assert set(transport.RETRIED_METHODS) == unary
    assert service.full_name == transport.SERVICE


def test_every_unary_method_about_files_is_sent_again() -> None:
    service = bulk_pb2.DESCRIPTOR.services_by_name["PayoutFileService"]
    unary = {method.name for method in service.methods if not method.server_streaming}
    assert set(transport.RETRIED_FILE_METHODS) == unary
    assert service.full_name == transport.FILE_SERVICE


def test_every_method_of_the_contract_that_changes_something_has_a_request_id() -> None:
    service = payment_pb2.DESCRIPTOR.services_by_name["PaymentService"]
    for method in service.methods:
        if method.name.startswith(("Create", "Cancel", "Capture", "Void")):
            assert "request_id" in method.input_type.fields_by_name, method.name


@pytest.mark.parametrize("amount_minor", [19.99, 1999.0, True, "1999"])
async def test_an_amount_that_is_no_int_is_refused_before_anything_is_sent(
    amount_minor: object,
) -> None:
    async with client.FiscClient("127.0.0.1:1", api_key="k") as fisc:
        with pytest.raises(TypeError, match="minor units"):
            await fisc.create_payment(
                amount=("CNY", amount_minor),  # type: ignore[arg-type]  # the point of the test
                method="CARD",
            )


async def test_a_method_that_does_not_exist_is_refused_before_anything_is_sent() -> None:
    async with client.FiscClient("127.0.0.1:1", api_key="k") as fisc:
        with pytest.raises(ValueError, match="PAYMENT_METHOD_CHEQUE"):
            await fisc.create_payment(
                amount=("CNY", 1),
                method="CHEQUE",  # type: ignore[arg-type]  # the point of the test
            )


async def test_a_client_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await client.FiscClient("127.0.0.1:1", api_key="k").get_payment("pay_1")


def test_the_client_imports_nothing_its_package_does_not_bring() -> None:
    folder = Path(client_module.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(parse_file(path)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                root = name.partition(".")[0]
                assert root in ALLOWED_IMPORTS or root in sys.stdlib_module_names, (path, name)
