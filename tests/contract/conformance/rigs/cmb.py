"""CMB cloud direct: two key pairs and a shared cipher; it pays out only."""

import base64
import secrets
from collections.abc import Mapping
from typing import ClassVar

import httpx
from typing_extensions import override

from libs import sm2
from tests.contract.conformance.rig import Decline, Registered, Rig


class CmbRig(Rig):
    """Answers what it is asked, and calls nobody."""

    provider = "cmb"
    declines: ClassVar[Mapping[str, Decline]] = {}
    signs_time = False

    @override
    async def register(self, control: httpx.AsyncClient, account_id: str) -> Registered:
        scalar = secrets.randbits(255).to_bytes(32)
        shared = {
            "user_id": f"N{account_id[-9:]}",
            "cipher_key": secrets.token_hex(8),
            "account": "6225880000000001",
        }
        point = sm2.PrivateKey.from_raw(scalar).public_key().point
        terms = shared | {"public_key": base64.b64encode(point).decode()}
        answer = await self.put(control, account_id, terms)
        credentials = shared | {
            "private_key": base64.b64encode(scalar).decode(),
            "bank_public_key": answer["bank_public_key"],
            "branch": "75",
            "business_mode": "00001",
            "duplicate_codes": "CSAC054",
            "not_ready_codes": "CDC0020",
        }
        return Registered(base_path=answer["base_path"], credentials=credentials)

    @override
    async def rotate(
        self, control: httpx.AsyncClient, account_id: str, credentials: Mapping[str, str]
    ) -> Mapping[str, str]:
        return (await self.register(control, account_id)).credentials

    @override
    def guess(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        scalar = secrets.randbits(255).to_bytes(32)
        return {**credentials, "private_key": base64.b64encode(scalar).decode()}

    @override
    def strangers_eyes(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        point = sm2.PrivateKey.from_raw(secrets.randbits(255).to_bytes(32)).public_key().point
        return {**credentials, "bank_public_key": base64.b64encode(point).decode()}


RIG = CmbRig()
