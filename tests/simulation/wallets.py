"""Who the merchants are, and everything in a world that must never be read in a log: tokens, account numbers, keys."""

from datetime import UTC, datetime
from random import Random

from services.gateway.domain import merchant as merchants
from services.gateway.domain.merchant import Merchant
from tests.simulation.neighbours import CURRENCIES

MERCHANTS = tuple(
    Merchant(
        merchant_id=f"mer_{number}",
        tenant_id="ten_1",
        display_name=f"Merchant {number}",
        currencies=CURRENCIES,
        risk_down_allowed=True,
        risk_down_limit_minor=20_000,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    for number in (1, 2)
)
_ACCOUNT_DIGITS = 19


class Wallets:
    """Draws secrets and remembers them."""

    def __init__(self, rng: Random, *, with_keys: bool) -> None:
        """Without keys merchants are known by their faces: proving who they are costs every call a query."""
        self.secrets: set[str] = set()
        self.keys: dict[str, tuple[str, str]] = {}
        self.merchants = {each.merchant_id: each for each in MERCHANTS}
        self.payee_name = "Li"
        self._key_of: dict[str, str] = {}
        if with_keys:
            self.payee_name = f"payee {rng.getrandbits(40):010x}"
            self.secrets.add(self.payee_name)
            for each in MERCHANTS:
                self._add_key(each.merchant_id, rng)

    def merchant(self, rng: Random) -> Merchant:
        return rng.choice(MERCHANTS)

    def key_of(self, merchant: Merchant) -> str:
        """The key that a merchant proves itself with; "" where nobody asks."""
        return self._key_of.get(merchant.merchant_id, "")

    def payer_token(self, rng: Random) -> str:
        return self._secret(f"tok{rng.getrandbits(64):016x}")

    def account_number(self, rng: Random) -> str:
        """A number that passes for a bank card's."""
        digits = "62" + "".join(str(rng.randrange(10)) for _ in range(_ACCOUNT_DIGITS - 3))
        doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-1::-2])
        total = doubled + sum(int(digit) for digit in digits[-2::-2])
        return self._secret(f"{digits}{-total % 10}")

    def _add_key(self, merchant_id: str, rng: Random) -> None:
        secret = self._secret(f"{rng.getrandbits(256):064x}")
        key_id = f"key_{merchant_id}"
        self.keys[key_id] = (merchant_id, merchants.secret_hash(secret))
        self._key_of[merchant_id] = merchants.compose_api_key(key_id, secret)

    def _secret(self, secret: str) -> str:
        self.secrets.add(secret)
        return secret
