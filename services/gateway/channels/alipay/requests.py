"""How a call is written: common parameters, one JSON of content, a signature; as form, URL or order string."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote_plus, urlencode

import orjson

from services.gateway.channels.alipay import signing, values

CHARSET: Final = "utf-8"
VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/x-www-form-urlencoded;charset=utf-8"
CONTENT_NAME: Final = "biz_content"


def parameters(
    method: str,
    content: Mapping[str, object],
    *,
    app_id: str,
    now: datetime,
    serials: Mapping[str, str],
    notify_url: str = "",
    return_url: str = "",
) -> dict[str, str]:
    """The parameters of a call, not signed yet. `serials` are those of certificate mode, or empty."""
    optional = {"notify_url": notify_url, "return_url": return_url}
    return {
        "app_id": app_id,
        "method": method,
        "format": "JSON",
        "charset": CHARSET,
        "sign_type": signing.SIGN_TYPE,
        "timestamp": values.beijing(now),
        "version": VERSION,
        **serials,
        **{name: value for name, value in optional.items() if value},
        CONTENT_NAME: orjson.dumps(content).decode(),
    }


def target(signed: Mapping[str, str]) -> str:
    """The query of a call: all that is common. Its content goes into the body."""
    return urlencode({name: value for name, value in signed.items() if name != CONTENT_NAME})


def body(signed: Mapping[str, str]) -> bytes:
    """The form of a call: its content."""
    return urlencode({CONTENT_NAME: signed[CONTENT_NAME]}).encode()


def fields(signed: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The hidden inputs of a form that the payer's browser posts."""
    return tuple(sorted(signed.items()))


def order_string(signed: Mapping[str, str]) -> str:
    """What a merchant's app hands to Alipay's SDK."""
    return "&".join(f"{name}={quote_plus(value)}" for name, value in sorted(signed.items()))
