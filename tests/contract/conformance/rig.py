"""What the suite needs of a provider, and which promises are put to which provider."""

import importlib
import pkgutil
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import httpx

from services.gateway.channels import registry
from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.method import METHODS
from tests.contract.conformance import rigs

# The payer's part is played by the test, and nothing lets it wait.
PROFILE: Final[Mapping[str, object]] = {
    "auto_pay_after_ms": None,
    "callback_after_ms": [0, 0],
    "pending_methods": ["qr"],
}
INPUTS: Final[Mapping[str, str]] = {
    "payer.auth_code": "134567890123456789",
    "payer.wallet_user_id": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
    "payer.ip": "192.0.2.7",
    "payer.account_id": "wallet/1/CNY",
    "return_url": "https://shop.example/back",
}
_FIELDS: Final[Mapping[str, str]] = {
    "payer.auth_code": "auth_code",
    "payer.wallet_user_id": "wallet_user_id",
    "payer.ip": "payer_ip",
    "payer.account_id": "payer_account_id",
    "return_url": "return_url",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """An order that the channel refuses: what is special about it, and how it is to be told."""

    kind: OutcomeKind
    order: Mapping[str, Any]


class Rig(ABC):
    """One provider."""

    provider: str
    waits: Sequence[str] = ()
    """Methods that the whole suite is put to, under which the payer must act before there is any money."""
    instant: Sequence[str] = ()
    """Likewise, of those that are decided in the answer to our order."""
    declines: ClassVar[Mapping[str, Decline]]
    """Orders that the channel refuses, by what is wrong with them."""
    signs_time: bool = True
    """Whether a signature holds for some minutes only."""
    probes: bool = False
    """Whether the provider sends notifications with bad signatures, to see whether we are careful."""

    @abstractmethod
    async def register(self, control: httpx.AsyncClient, account_id: str) -> "Registered":
        """A fresh account at the sandbox."""

    @abstractmethod
    async def rotate(
        self, control: httpx.AsyncClient, account_id: str, credentials: Mapping[str, str]
    ) -> Mapping[str, str]:
        """From now on only these credentials hold; the ones before are worth nothing."""

    @abstractmethod
    def guess(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        """Credentials of somebody who does not know the keys."""

    @abstractmethod
    def strangers_eyes(self, credentials: Mapping[str, str]) -> Mapping[str, str]:
        """Credentials with which this account's notifications cannot be verified."""

    def forgeries(
        self, headers: Mapping[str, str], body: bytes
    ) -> Iterator[tuple[dict[str, str], bytes]]:
        """Notifications made of a true one, which must be refused: a changed body, and no signature at all."""
        middle = len(body) // 2
        yield dict(headers), body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        unsigned = {
            name: value for name, value in headers.items() if "signature" not in name.lower()
        }
        yield unsigned, body

    async def put(
        self, control: httpx.AsyncClient, account_id: str, terms: Mapping[str, str]
    ) -> dict[str, str]:
        """Tell the sandbox of the account, or of its new terms; what it says of itself."""
        body = {"provider": self.provider, "account_id": account_id, "profile": PROFILE, **terms}
        answer: dict[str, str] = (
            (await control.post("/control/accounts", json=body)).raise_for_status().json()
        )
        return answer

    def inputs(self, method: str) -> dict[str, str]:
        """What this method needs of the payer, made up."""
        return {_FIELDS[needed]: INPUTS[needed] for needed in METHODS[method].needs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Where the account is reached, and what our side must know to speak for it."""

    base_path: str
    credentials: Mapping[str, str]


def fresh_secret() -> str:
    """One of 32 characters."""
    return secrets.token_hex(16)


def _found() -> Iterator[Rig]:
    for module in pkgutil.iter_modules(rigs.__path__, f"{rigs.__name__}."):
        rig: Rig = importlib.import_module(module.name).RIG
        yield rig


RIGS: Final[Mapping[str, Rig]] = {rig.provider: rig for rig in _found()}


def _offering(rig: Rig, methods: Sequence[str], feature: Feature) -> list[tuple[str, str]]:
    offers = registry.PROVIDERS[rig.provider].capabilities.offers
    return [(rig.provider, method) for method in methods if offers(method, feature)]


def waiting(feature: Feature = Feature.PAYMENT) -> list[tuple[str, str]]:
    """(provider, method) of those that offer this, and wait for the payer."""
    return [pair for rig in RIGS.values() for pair in _offering(rig, rig.waits, feature)]


def instant(feature: Feature = Feature.PAYMENT) -> list[tuple[str, str]]:
    """Likewise, of those that are decided at once."""
    return [pair for rig in RIGS.values() for pair in _offering(rig, rig.instant, feature)]


def paying(feature: Feature = Feature.PAYMENT) -> list[tuple[str, str]]:
    """Both."""
    return [*waiting(feature), *instant(feature)]


def paying_with(feature: Feature) -> list[tuple[str, str]]:
    """Both, of providers whose accounts offer this."""
    return [
        (provider, method)
        for provider, method in paying()
        if feature in registry.PROVIDERS[provider].capabilities.account
    ]


def declining() -> list[tuple[tuple[str, str], str]]:
    """The first method of each provider, with the name of each way in which it declines."""
    first = {provider: (provider, method) for provider, method in reversed(paying())}
    return [(first[each], name) for each in first for name in RIGS[each].declines]


def representatives() -> list[tuple[str, str]]:
    """The first method of every provider."""
    return [
        (name, next(iter(provider.capabilities.methods)))
        for name, provider in registry.PROVIDERS.items()
    ]


def payouts() -> list[tuple[str, str]]:
    """Every method by which payees are paid."""
    return [
        (name, method)
        for name, provider in registry.PROVIDERS.items()
        for method, features in provider.capabilities.methods.items()
        if Feature.PAYOUT in features
    ]


def every_method() -> list[tuple[str, str]]:
    """Everything that payers may use anywhere."""
    return [
        (name, method)
        for name, provider in registry.PROVIDERS.items()
        for method, features in provider.capabilities.methods.items()
        if Feature.PAYMENT in features
    ]


def accounts(feature: Feature) -> list[tuple[str, str]]:
    """One pair a provider whose accounts offer this."""
    return [
        (name, next(iter(provider.capabilities.methods)))
        for name, provider in registry.PROVIDERS.items()
        if feature in provider.capabilities.account
    ]
