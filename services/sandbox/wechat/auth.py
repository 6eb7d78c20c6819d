"""Who is asking: the `Authorization` header of WeChat Pay v3, and what a bad one is answered."""

import re
from dataclasses import dataclass

from starlette.requests import Request

from services.sandbox import keys
from services.sandbox.book import Book
from services.sandbox.gate import Failing
from services.sandbox.records import Account
from services.sandbox.wechat import signing

PREFIX = "/wechat"
FIELDS = ("mchid", "nonce_str", "signature", "timestamp", "serial_no")

_PAIR = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request whose signature held."""

    account: Account
    request: Request
    body: bytes


def signed_target(request: Request) -> str:
    """Path and query as the merchant signed them: without our own prefix."""
    target = request.scope["raw_path"].decode("ascii").removeprefix(PREFIX)
    query = request.scope["query_string"].decode("ascii")
    return f"{target}?{query}" if query else target


def authenticate(book: Book, request: Request, body: bytes) -> Call:
    """The call, if its signature holds. Raises Failing(401, SIGN_ERROR) that says why not."""
    header = request.headers.get("authorization", "")
    schema, _, rest = header.partition(" ")
    if schema != signing.SCHEMA:
        raise _refusal("Authorization", f"the schema must be {signing.SCHEMA}")
    fields = dict(_PAIR.findall(rest))
    for name in FIELDS:
        if not fields.get(name):
            raise _refusal(name, "is missing in the Authorization header")
    account = book.account(fields["mchid"])
    if account is None or account.provider != "wechat":
        raise _refusal("mchid", "no such merchant")
    if fields["serial_no"] != account.terms["merchant_serial"]:
        raise _refusal("serial_no", "is not the serial of the merchant's certificate")
    if not keys.is_fresh(fields["timestamp"]):
        raise _refusal("timestamp", f"is more than {keys.SKEW_MAX_S} s away from now")
    lines = (request.method, signed_target(request), fields["timestamp"], fields["nonce_str"])
    message = "".join(f"{line}\n" for line in lines).encode() + body + b"\n"
    if not signing.verify_merchant(
        account.terms["merchant_public_key_pem"], message, fields["signature"]
    ):
        raise _refusal("signature", "does not fit the five signed lines")
    return Call(account=account, request=request, body=body)


def _refusal(field: str, issue: str) -> Failing:
    detail = {"field": field, "issue": issue, "location": "authorization"}
    return Failing(401, "SIGN_ERROR", f"{field}: {issue}", detail)
