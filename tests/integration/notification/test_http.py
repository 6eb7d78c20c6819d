"""Only vetted addresses are called, whatever a name says, and every failure has a name."""

import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local import ports
from services.notification.clients.http import HttpSender, Resolve
from services.notification.domain.delivery import Answer
from services.notification.domain.endpoint import UrlPolicy
from tests.integration.notification.support import Receiver, receiving

NAME = "hooks.merchant.example"
OPEN = UrlPolicy(allow_http=True, allow_private=True)
PUBLIC_ONLY = UrlPolicy(allow_http=True)


def resolves_to(*addresses: str) -> Resolve:
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port > 0) == (NAME, True)
        return list(addresses)

    return resolve


async def post(sender: HttpSender, url: str) -> Answer:
    try:
        return await sender.post(url, {"webhook-id": "msg_1"}, b"{}")
    finally:
        await sender.close()


def named(receiver: Receiver) -> str:
    return receiver.url.replace("127.0.0.1", NAME)


async def test_a_name_is_called_at_the_address_that_was_vetted_and_under_its_own_name(
    receiver: Receiver,
) -> None:
    sender = HttpSender(OPEN, timeout_s=2.0, resolve=resolves_to("127.0.0.1"))
    assert await post(sender, named(receiver)) == Answer(http_status=200)
    assert receiver.requests[0].headers["host"].startswith(f"{NAME}:")
    assert receiver.requests[0].headers["user-agent"] == "Fisc-Webhooks/1"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], []])
async def test_a_name_that_leads_inside_is_not_called_even_if_another_address_is_public(
    receiver: Receiver, addresses: list[str]
) -> None:
    sender = HttpSender(PUBLIC_ONLY, timeout_s=2.0, resolve=resolves_to(*addresses))
    answer = await post(sender, named(receiver))
    assert answer == Answer(http_status=0, error="ADDRESS_NOT_PUBLIC")
    assert not receiver.requests


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1"])
async def test_loopback_in_any_spelling_is_not_called(receiver: Receiver, host: str) -> None:
    sender = HttpSender(PUBLIC_ONLY, timeout_s=2.0)
    answer = await post(sender, receiver.url.replace("127.0.0.1", host))
    assert answer.error == "ADDRESS_NOT_PUBLIC"
    assert not receiver.requests


async def test_plain_http_is_not_called_where_it_is_not_allowed(receiver: Receiver) -> None:
    sender = HttpSender(UrlPolicy(allow_private=True), timeout_s=2.0)
    assert (await post(sender, receiver.url)).error == "HTTPS_REQUIRED"
    assert not receiver.requests


async def test_another_address_of_a_name_is_tried_when_the_first_does_not_answer(
    receiver: Receiver,
) -> None:
    sender = HttpSender(OPEN, timeout_s=5.0, resolve=resolves_to("127.0.0.2", "127.0.0.1"))
    assert await post(sender, named(receiver)) == Answer(http_status=200)


async def test_failures_without_an_answer_have_names(receiver: Receiver) -> None:
    async def fails(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    closed = f"http://127.0.0.1:{ports.find_free()}/"
    receiver.is_silent = True
    silent = HttpSender(OPEN, timeout_s=0.2)
    assert (await post(silent, receiver.url)).error == "TIMEOUT"
    assert (await post(HttpSender(OPEN, timeout_s=2.0), closed)).error == "CONNECT_FAILED"
    no_name = HttpSender(OPEN, timeout_s=2.0, resolve=fails)
    assert (await post(no_name, f"http://{NAME}/")).error == "NAME_NOT_RESOLVED"
    no_tls = HttpSender(OPEN, timeout_s=2.0)
    receiver.is_silent = False
    assert (await post(no_tls, receiver.url.replace("http:", "https:"))).http_status == 0


async def test_tls_proves_the_name_although_the_address_is_called(tmp_path: Path) -> None:
    server_tls, client_tls = certified(tmp_path, NAME)
    async with receiving(tls=server_tls) as receiver:
        right = HttpSender(OPEN, timeout_s=5.0, resolve=resolves_to("127.0.0.1"), tls=client_tls)
        assert await post(right, named(receiver)) == Answer(http_status=200)
        wrong = HttpSender(OPEN, timeout_s=5.0, tls=client_tls)
        assert (await post(wrong, receiver.url)).error == "TLS_FAILED"
        stranger = HttpSender(OPEN, timeout_s=5.0, resolve=resolves_to("127.0.0.1"))
        assert (await post(stranger, named(receiver))).error == "TLS_FAILED"
        assert len(receiver.requests) == 1


def certified(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server that proves the name, and a client that believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    alternatives = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    path = directory / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate
    )
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(path)
    return server_tls, ssl.create_default_context(cadata=certificate.decode())
