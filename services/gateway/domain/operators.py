"""Who of the platform's people calls, and how they prove it."""

from services.gateway.domain import merchant

OPERATOR_KEY_PREFIX = "fo"
PLATFORM = "PLATFORM"
"""Stands in the audit chain for the platform's token, which services and bootstrap share: nobody in person. No person's id has capitals."""


def compose_operator_key(key_id: str, secret: str) -> str:
    """The key a person sends: it names its row and proves itself."""
    return merchant.compose_key(OPERATOR_KEY_PREFIX, key_id, secret)


def parse_operator_key(text: str) -> tuple[str, str] | None:
    """(key_id, secret), or None for anything else."""
    return merchant.parse_key(OPERATOR_KEY_PREFIX, text)
