"""WeChat Pay: the merchant's key pair, WeChat's own, and one that opens notifications."""

from collections.abc import Mapping
from typing import ClassVar

import httpx
from typing_extensions import override

from services.gateway.domain.channel import OutcomeKind
from tests.contract.conformance.keys import KeyPair, rsa_pair
from tests.contract.conformance.rig import Decline, Registered, Rig, fresh_secret

FIRST, SECOND = "merchant", "merchant, after the change"
SERIALS = {
    FIRST: "5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
    SECOND: "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C",
}


class WechatRig(Rig):
    """Lets payers scan; money goes back after a while."""

    provider = "wechat"
    waits = ("WECHAT_QR",)
    probes = True
    declines: ClassVar[Mapping[str, Decline]] = {
        "nonsense": Decline(kind=OutcomeKind.DECLINED_HARD, order={"amount_minor": 0})
    }

    @override
    async def register(self, control: httpx.AsyncClient, account_id: str) -> Registered:
        return await self._register(control, account_id, FIRST, fresh_secret())

    @override
    async def rotate(
        self, control: httpx.AsyncClient, account_id: str, credentials: Mapping[str, str]
    ) -> Mapping[str, str]:
        return (await self._register(control, account_id, SECOND, fresh_secret())).credentials

    @override
    def guess(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        stranger = rsa_pair("stranger").private_pem
        return {**credentials, "merchant_private_key_pem": stranger}

    @override
    def strangers_eyes(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        return {**credentials, "platform_public_key_pem": rsa_pair("stranger").public_pem}

    async def _register(
        self, control: httpx.AsyncClient, account_id: str, name: str, apiv3_key: str
    ) -> Registered:
        pair: KeyPair = rsa_pair(name)
        shared = {
            "appid": "wx0000000000000001",
            "apiv3_key": apiv3_key,
            "merchant_serial": SERIALS[name],
        }
        terms = {**shared, "merchant_public_key_pem": pair.public_pem}
        answer = await self.put(control, account_id, terms)
        return Registered(
            base_path=answer["base_path"],
            credentials={
                **shared,
                "mchid": account_id,
                "merchant_private_key_pem": pair.private_pem,
                "platform_public_key_pem": answer["platform_public_key_pem"],
                "platform_public_key_id": answer["public_key_id"],
            },
        )


RIG = WechatRig()
