"""Simpay: one secret, both ways."""

from collections.abc import Mapping
from typing import ClassVar

import httpx
from typing_extensions import override

from services.gateway.domain.channel import OutcomeKind
from tests.contract.conformance.rig import Decline, Registered, Rig, fresh_secret


class SimpayRig(Rig):
    """Decides cards at once, and lets payers scan."""

    provider = "simpay"
    waits = ("WECHAT_QR",)
    instant = ("CARD",)
    declines: ClassVar[Mapping[str, Decline]] = {
        "expired": Decline(
            kind=OutcomeKind.DECLINED_HARD,
            order={"method": "CARD", "payer_token": "sim:CARD_EXPIRED"},
        ),
        "poor": Decline(
            kind=OutcomeKind.DECLINED_HARD,
            order={"method": "CARD", "payer_token": "sim:INSUFFICIENT_FUNDS"},
        ),
        "busy": Decline(
            kind=OutcomeKind.DECLINED_SOFT,
            order={"method": "CARD", "payer_token": "sim:CHANNEL_BUSY"},
        ),
        "nonsense": Decline(kind=OutcomeKind.DECLINED_HARD, order={"amount_minor": 0}),
    }

    @override
    async def register(self, control: httpx.AsyncClient, account_id: str) -> Registered:
        credentials = {"secret": fresh_secret()}
        answer = await self.put(control, account_id, credentials)
        return Registered(base_path=answer["base_path"], credentials=credentials)

    @override
    async def rotate(
        self, control: httpx.AsyncClient, account_id: str, credentials: Mapping[str, str]
    ) -> Mapping[str, str]:
        return (await self.register(control, account_id)).credentials

    @override
    def guess(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        return {**credentials, "secret": "guessed"}

    @override
    def strangers_eyes(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        return self.guess(credentials)


RIG = SimpayRig()
