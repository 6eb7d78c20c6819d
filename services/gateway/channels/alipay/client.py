"""One merchant's line to Alipay: a call is signed, sent, verified, and its inner object read."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from libs.clock import Clock
from services.gateway.channels import answers, http
from services.gateway.channels.alipay import classify, messages, requests, signing
from services.gateway.channels.alipay.keys import Credentials
from services.gateway.channels.alipay.messages import Content
from services.gateway.channels.answers import SignatureInvalid
from services.gateway.domain.channel import ChannelUnavailable

# Signing takes milliseconds and releases the interpreter lock; two threads keep two cores busy.
SIGNING_THREADS = 2
REASON_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verified answer."""

    fields: Mapping[str, object]

    @property
    def code(self) -> str:
        return answers.optional_text(self.fields, "code")

    @property
    def sub_code(self) -> str:
        return answers.optional_text(self.fields, "sub_code")

    @property
    def is_done(self) -> bool:
        return self.code == classify.DONE

    @property
    def reason(self) -> str:
        """The most exact code there is."""
        return self.sub_code or self.code

    @property
    def message(self) -> str:
        return answers.optional_text(self.fields, "sub_msg") or answers.optional_text(
            self.fields, "msg"
        )


class Client:
    """Speaks for one application, at one gateway address."""

    def __init__(
        self,
        *,
        gateway_url: str,
        keys: Credentials,
        http: http.ChannelHttp,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._gateway_url = gateway_url
        self._keys = keys
        self._http = http
        self._clock = clock
        self._timeout_s = timeout_s
        self._signers = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="alipay-sign")

    async def signed(
        self, method: str, content: Content, *, notify_url: str = "", return_url: str = ""
    ) -> dict[str, str]:
        """The parameters of a call with their signature, whoever will send them."""
        parameters = requests.parameters(
            method,
            content,
            app_id=self._keys.app_id,
            now=self._clock.now(),
            serials=self._keys.serials,
            notify_url=notify_url,
            return_url=return_url,
        )
        covered = signing.request_content(parameters).encode()
        signature = await asyncio.get_running_loop().run_in_executor(
            self._signers, signing.sign, self._keys.app_key, covered
        )
        return {**parameters, "sign": signature}

    async def call(self, method: str, content: Content, *, notify_url: str = "") -> Answer:
        """Raises NotSent, NoAnswer, ServerFault, SignatureInvalid, Malformed."""
        answer = await self._send(method, content, notify_url=notify_url)
        keys = self._keys.of_answer(answer.certificate_serial)
        if keys is None:
            await self._fetch_certificate(answer.certificate_serial)
            keys = self._keys.of_answer(answer.certificate_serial)
        signing.verify(keys or (), answer.content, answer.signature)
        return Answer(fields=answers.decode_object(answer.content))

    async def download(self, url: str, *, timeout_s: float, bytes_max: int) -> bytes:
        """A file from an address that needs no signature. Raises NotSent, NoAnswer, ChannelUnavailable."""
        file = await self._http.send(
            "GET",
            url,
            headers={"User-Agent": "fisc"},
            timeout_s=timeout_s,
            answer_bytes_max=bytes_max,
        )
        if file.status != HTTPStatus.OK:
            raise ChannelUnavailable(f"HTTP {file.status} at the download")
        return file.body

    async def _send(
        self, method: str, content: Content, *, notify_url: str = ""
    ) -> signing.SignedAnswer:
        signed = await self.signed(method, content, notify_url=notify_url)
        answer = await self._http.send(
            "POST",
            f"{self._gateway_url}?{requests.target(signed)}",
            headers={"Content-Type": requests.CONTENT_TYPE, "User-Agent": "fisc"},
            body=requests.body(signed),
            timeout_s=self._timeout_s,
        )
        if answer.status >= classify.SERVER_FAULT_MIN:
            raise answers.ServerFault(answer.status)
        taken = signing.take_apart(answer.body, method=method)
        if not taken.signature:
            # Alipay may leave a refusal at its door unsigned; so could anybody on the way.
            said = taken.content[:REASON_LENGTH_MAX].decode(errors="replace")
            raise SignatureInvalid(f"the answer is not signed: {said}", field="sign")
        return taken

    async def _fetch_certificate(self, serial: str) -> None:
        """Alipay has changed its certificate: it hands out the new one, which our roots must vouch for."""
        method = messages.DOWNLOAD_CERTIFICATE
        answer = await self._send(method, {"alipay_cert_sn": serial})
        fields = answers.decode_object(answer.content)
        content = fields.get("alipay_cert_content")
        if not isinstance(content, str) or not content:
            raise SignatureInvalid("the certificate is not handed out", field="alipay_cert_sn")
        self._keys.accept(content, serial=serial, now=self._clock.now())


def form_url(gateway_url: str) -> str:
    """Where a browser posts a signed form: the encoding must stand in the address."""
    return f"{gateway_url}?{urlencode({'charset': requests.CHARSET})}"
