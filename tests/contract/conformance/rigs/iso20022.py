"""A bank of ISO 20022 over HTTP: a key pair each; it pays out only. Its files are in `test_bank_connectors`."""

from collections.abc import Mapping
from typing import ClassVar

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typing_extensions import override

from tests.contract.conformance.rig import Decline, Registered, Rig

ACCOUNT = "6225880000000001"


class IsoRig(Rig):
    """Answers what it is asked, and calls nobody."""

    provider = "iso20022"
    declines: ClassVar[Mapping[str, Decline]] = {}

    @override
    async def register(self, control: httpx.AsyncClient, account_id: str) -> Registered:
        key = Ed25519PrivateKey.generate()
        terms = {"account": ACCOUNT, "public_key_pem": _public(key)}
        answer = await self.put(control, account_id, terms)
        credentials = {
            "private_key_pem": _private(key),
            "bank_public_key_pem": answer["bank_public_key_pem"],
            "initiating_party": "Fisc",
            "debtor_name": "Fisc",
            "debtor_account": ACCOUNT,
            "debtor_agent_bic": "ICBKCNBJ",
            "currency": "CNY",
            "zone": "Asia/Shanghai",
        }
        return Registered(base_path=answer["base_path"], credentials=credentials)

    @override
    async def rotate(
        self, control: httpx.AsyncClient, account_id: str, credentials: Mapping[str, str]
    ) -> Mapping[str, str]:
        return (await self.register(control, account_id)).credentials

    @override
    def guess(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        return {**credentials, "private_key_pem": _private(Ed25519PrivateKey.generate())}

    @override
    def strangers_eyes(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        return {**credentials, "bank_public_key_pem": _public(Ed25519PrivateKey.generate())}


def _private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public(key: Ed25519PrivateKey) -> str:
    encoded = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


RIG = IsoRig()
