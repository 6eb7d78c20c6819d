"""Alipay in certificate mode, where all of it is offered: the merchant's key pair, and certificates of both sides."""

from collections.abc import Iterator, Mapping
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

import httpx
from typing_extensions import override

from services.gateway.domain.channel import OutcomeKind
from tests.contract.conformance.keys import rsa_pair
from tests.contract.conformance.rig import Decline, Registered, Rig

FIRST, SECOND = "merchant", "merchant, after the change"
SELLER = "2088000000000156"
WAITS_FOR_THE_PAYER = "281234567890129999"
# Without the certificate, the connector works in key mode.
KEY_MODE = {"alipay_cert_pem": ""}


class AlipayRig(Rig):
    """By a code or a page there is no trade before the payer takes it up, so the suite is put to the ways that make one at once."""

    provider = "alipay"
    waits = ("ALIPAY_JSAPI", "ALIPAY_CODE")
    declines: ClassVar[Mapping[str, Decline]] = {
        "nonsense": Decline(kind=OutcomeKind.DECLINED_HARD, order={"amount_minor": 0}),
        "more than Alipay takes": Decline(
            kind=OutcomeKind.DECLINED_SOFT, order={"amount_minor": 10**11}
        ),
    }
    # Notifications are delivered for a day, and an answer carries no time at all.
    signs_time = False

    @override
    async def register(self, control: httpx.AsyncClient, account_id: str) -> Registered:
        return await self._register(control, account_id, FIRST)

    @override
    async def rotate(
        self, control: httpx.AsyncClient, account_id: str, credentials: Mapping[str, str]
    ) -> Mapping[str, str]:
        return (await self._register(control, account_id, SECOND)).credentials

    @override
    def guess(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        return {**credentials, **KEY_MODE, "app_private_key": rsa_pair("stranger").private_pem}

    @override
    def strangers_eyes(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        return {**credentials, **KEY_MODE, "alipay_public_key": rsa_pair("stranger").public_pem}

    @override
    def forgeries(
        self, headers: Mapping[str, str], body: bytes
    ) -> Iterator[tuple[dict[str, str], bytes]]:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        changed = {**form, "total_amount": "0.01"}
        unsigned = {name: value for name, value in form.items() if name != "sign"}
        for forged in (changed, unsigned):
            yield dict(headers), urlencode(forged).encode()

    @override
    def inputs(self, method: str) -> dict[str, str]:
        made_up = super().inputs(method)
        return made_up | {"auth_code": WAITS_FOR_THE_PAYER} if "auth_code" in made_up else made_up

    async def _register(self, control: httpx.AsyncClient, account_id: str, name: str) -> Registered:
        pair = rsa_pair(name)
        terms = {
            "seller_id": SELLER,
            "merchant_public_key_pem": pair.public_pem,
            "certificate_mode": "true",
        }
        answer = await self.put(control, account_id, terms)
        told = ("alipay_public_key", "app_cert_pem", "alipay_cert_pem", "alipay_root_cert_pem")
        return Registered(
            base_path=answer["base_path"],
            credentials={
                "app_id": account_id,
                "seller_id": SELLER,
                "app_private_key": pair.private_pem,
                **{name: answer[name] for name in told},
            },
        )


RIG = AlipayRig()
