"""A sandbox over a fresh book, a receiver for its callbacks, and merchants of WeChat Pay and Alipay."""

import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.channels.http import ChannelHttp
from services.sandbox import app
from services.sandbox.alipay.authority import Authority
from tests.integration.sandbox import alipay_support
from tests.integration.sandbox.support import Merchant, Receiver, Sandbox, serving


@pytest.fixture(scope="session")
def platform_keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The providers' own keys, once for all tests: making an RSA key takes long."""
    folder = tmp_path_factory.mktemp("sandbox")
    app.build(folder, app.Options())
    return sorted(folder.glob("*.pem"))


@pytest.fixture(scope="session")
def merchant() -> Merchant:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Merchant(
        mchid="1900000109",
        appid="wxd678efh567hg6787",
        serial=secrets.token_hex(20).upper(),
        apiv3_key=secrets.token_hex(16),
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        public_key_pem=key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


@pytest.fixture(scope="session")
def alipay_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alipay's keys, and the ones that follow them: made once for all tests, too."""
    directory = tmp_path_factory.mktemp("alipay")
    Authority(directory).replace_key()
    return directory


@pytest.fixture(scope="session")
def alipay_app_key() -> rsa.RSAPrivateKey:
    return alipay_support.new_key()


@pytest.fixture(params=["key mode", "certificate mode"])
async def alipay(  # noqa: PLR0917 -- fixtures are asked for by name
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sandbox: Sandbox,
    receiver: Receiver,
    alipay_keys: Path,
    alipay_app_key: rsa.RSAPrivateKey,
) -> AsyncIterator[alipay_support.Merchant]:
    """A merchant of Alipay, in each of its modes."""
    shutil.copytree(alipay_keys, tmp_path, dirs_exist_ok=True)
    async with ChannelHttp() as http:
        yield await alipay_support.register(
            sandbox,
            receiver,
            http,
            app_id="2021000000000001",
            key=alipay_app_key,
            certified=request.param == "certificate mode",
        )


@pytest.fixture
async def sandbox(tmp_path: Path, platform_keys: list[Path]) -> AsyncIterator[Sandbox]:
    for path in platform_keys:
        shutil.copy(path, tmp_path)
    options = app.Options(callback_backoff_s=(0.05, 0.05, 0.05))
    async with (
        serving(app.build(tmp_path, options)) as url,
        httpx.AsyncClient(timeout=5, trust_env=False) as http,
    ):
        yield Sandbox(url, http)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    endpoint = Receiver()

    async def receive(request: Request) -> Response:
        return await endpoint(request)

    async with serving(Starlette(routes=[Route("/notify", receive, methods=["POST"])])) as url:
        endpoint.url = f"{url}/notify"
        yield endpoint
