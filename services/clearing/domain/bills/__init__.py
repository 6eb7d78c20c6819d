"""The channels' bills: bytes in, believed lines out, or the reason why not."""

from services.clearing.domain.bills import simpay, wechat
from services.clearing.domain.bills.model import Bill
from services.clearing.domain.errors import BillReason, BillRejected

_PARSERS = {"wechat": wechat.parse, "simpay": simpay.parse}


def parse(provider: str, content: bytes) -> Bill:
    """Read a provider's bill of one day. Raises BillRejected."""
    parser = _PARSERS.get(provider)
    if parser is None:
        raise BillRejected(BillReason.FORMAT_UNKNOWN, f"no parser for provider {provider[:40]!r}")
    return parser(content)
