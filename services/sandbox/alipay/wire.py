"""Alipay's envelope: which call it is and whether the merchant signed it; how answers and notices are signed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from services.sandbox.alipay import authority, merchants
from services.sandbox.alipay.authority import Signer
from services.sandbox.book import Book
from services.sandbox.clock import SHANGHAI, real_now
from services.sandbox.records import Account

CHARSETS = {"utf-8": "utf-8", "gbk": "gbk", "gb2312": "gbk", "gb18030": "gb18030"}
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
# The documentation names no bound; a quarter of an hour is what merchants report.
SKEW_MAX_S = 900
DONE, PAYER_MUST_ACT = "10000", "10003"
MESSAGES = {
    DONE: "Success",
    PAYER_MUST_ACT: "order success pay inprocess",
    "20000": "Service Currently Unavailable",
    "20001": "Insufficient Authorization",
    "40001": "Missing Required Arguments",
    "40002": "Invalid Arguments",
    "40004": "Business Failed",
    "40005": "Call Limited",
    "40006": "Insufficient Permissions",
}
_REQUIRED = ("app_id", "method", "charset", "sign_type", "sign", "timestamp", "version")

Json = dict[str, Any]


class Refusal(Exception):
    """The call ends here, with a code and the reason of it."""

    def __init__(self, code: str, sub_code: str, message: str, **fields: str) -> None:
        super().__init__(message)
        self.code = code
        self.sub_code = sub_code
        self.message = message
        self.fields = fields

    def body(self) -> Json:
        """As it stands in an answer."""
        return {
            "code": self.code,
            "msg": MESSAGES[self.code],
            "sub_code": self.sub_code,
            "sub_msg": self.message,
            **self.fields,
        }


def failed(sub_code: str, message: str, **fields: str) -> Refusal:
    """The business says no."""
    return Refusal("40004", sub_code, message, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request whose signature held."""

    account: Account
    method: str
    parameters: Mapping[str, str]
    content: Json

    @property
    def charset(self) -> str:
        return CHARSETS[self.parameters["charset"].lower()]

    def text(self, name: str, *, length_max: int = 64) -> str:
        """A required text of the content. Raises Refusal."""
        value = self.content.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= length_max:
            raise failed("ACQ.INVALID_PARAMETER", f"参数无效: {name}")
        return value

    def optional(self, name: str) -> str:
        """A text of the content, or ""."""
        value = self.content.get(name)
        return value if isinstance(value, str) else ""

    def amount(self, name: str) -> int:
        """A required amount in yuan, as fen, above nothing. Raises Refusal."""
        fen = fen_of(self.content.get(name))
        if fen <= 0:
            raise failed("ACQ.INVALID_PARAMETER", f"参数无效: {name}")
        return fen


def read(query: bytes, body: bytes) -> dict[str, str]:
    """The parameters of a request, whichever part they came in."""
    charset = dict(parse_qsl(query.decode("ascii", "replace"))).get("charset", "")
    if not charset:
        charset = dict(parse_qsl(body.decode("ascii", "replace"))).get("charset", "utf-8")
    codec = CHARSETS.get(charset.lower(), "utf-8")
    pairs: list[tuple[str, str]] = []
    for part in (query, body):
        pairs += parse_qsl(part.decode("ascii", "replace"), encoding=codec, errors="replace")
    return dict(pairs)


def authenticate(
    book: Book, parameters: Mapping[str, str], *, root_serial: str = "", fresh: bool = True
) -> Call:
    """The call, if its signature holds. Raises Refusal, as Alipay words it."""
    for name in _REQUIRED:
        if not parameters.get(name):
            raise Refusal("40001", f"isv.missing-{name.replace('_', '-')}", f"缺少{name}参数")
    account = book.account(parameters["app_id"])
    if account is None or account.provider != "alipay":
        raise Refusal("40002", "isv.invalid-app-id", "无效的AppID参数")
    if parameters["charset"].lower() not in CHARSETS:
        raise Refusal("40002", "isv.invalid-charset", "字符集错误")
    if parameters["sign_type"] != "RSA2":
        raise Refusal("40002", "isv.invalid-signature-type", "无效签名类型")
    _check_certificates(account, parameters, root_serial)
    covered = {name: value for name, value in parameters.items() if value and name != "sign"}
    text = "&".join(f"{name}={covered[name]}" for name in sorted(covered))
    message = text.encode(CHARSETS[parameters["charset"].lower()], "replace")
    if not merchants.has_signed(account, message, parameters["sign"]):
        raise Refusal("40002", "isv.invalid-signature", "验签出错，请检查签名串与密钥是否匹配")
    if fresh and not _is_fresh(parameters["timestamp"]):
        raise Refusal("40002", "isv.invalid-timestamp", "非法的时间戳参数")
    return Call(
        account=account,
        method=parameters["method"],
        parameters=parameters,
        content=_content(parameters.get("biz_content", "")),
    )


def _check_certificates(account: Account, parameters: Mapping[str, str], root_serial: str) -> None:
    if not merchants.terms(account).certificate_mode:
        return
    if not parameters.get("app_cert_sn"):
        raise Refusal("40002", "isv.missing-app-cert-sn", "缺少应用公钥证书SN")
    expected = authority.app_serial(account.account_id, merchants.key(account))
    if parameters["app_cert_sn"] != expected:
        raise Refusal("40002", "isv.app-cert-sn-not-match", "应用公钥证书SN不匹配")
    if parameters.get("alipay_root_cert_sn") != root_serial:
        raise Refusal("40002", "isv.invalid-alipay-root-cert-sn", "支付宝根证书SN不匹配")


def _content(text: str) -> Json:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Refusal("40002", "isv.invalid-parameter", "biz_content不是合法的JSON")
    return content


def _is_fresh(timestamp: str) -> bool:
    try:
        written = datetime.strptime(timestamp, TIME_FORMAT).replace(tzinfo=SHANGHAI)
    except ValueError:
        return False
    return abs((real_now() - written).total_seconds()) <= SKEW_MAX_S


def node_of(method: str) -> str:
    """What the inner object of an answer is called."""
    return f"{method.replace('.', '_')}_response"


def answer(node: str, fields: Json, signer: Signer | None, *, codec: str, certified: bool) -> str:
    """An answer as it goes out: slashes escaped, as Alipay's own serialiser does, and signed as it stands."""
    inner = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    if signer is None:
        return f'{{"{node}":{inner}}}'
    signature = signer.sign(inner.encode(codec, "replace"))
    serial = f',"alipay_cert_sn":"{signer.serial}"' if certified else ""
    return f'{{"{node}":{inner}{serial},"sign":"{signature}"}}'


def notice(fields: Mapping[str, str], signer: Signer, *, charset: str) -> bytes:
    """A notification: a form in the merchant's charset; its signature covers neither itself nor its type."""
    codec = CHARSETS[charset.lower()]
    text = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    signature = signer.sign(text.encode(codec, "replace"))
    signed = {**fields, "sign": signature, "sign_type": "RSA2"}
    return "&".join(
        f"{name}={quote_plus(value, encoding=codec, errors='replace')}"
        for name, value in signed.items()
    ).encode()


def yuan(amount: int) -> str:
    """Fen as yuan with both decimals."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def fen_of(value: object) -> int:
    """Yuan as fen; -1 for what is no amount."""
    text = (
        str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    )
    match = re.fullmatch(r"([0-9]{1,11})(?:\.([0-9]{1,2}))?", text, re.ASCII)
    if match is None:
        return -1
    return int(match.group(1)) * 100 + int((match.group(2) or "").ljust(2, "0"))


def beijing(moment: datetime) -> str:
    """As Alipay writes times."""
    return moment.astimezone(SHANGHAI).strftime(TIME_FORMAT)
