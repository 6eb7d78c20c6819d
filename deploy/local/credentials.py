"""What the demo's merchants and channels know and nobody else may: kept in one 0600 file.

API keys and webhook secrets are shown once by their services; channel keys are made here, once for
a data directory, and told to both gateway and sandbox.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.local import secrets_file

FILE_NAME: Final = "demo-credentials.json"
RSA_BITS: Final = 2048
RSA_EXPONENT: Final = 65537
APIV3_KEY_BYTES: Final = 32


class Credentials:
    """The file's content; every change is written at once."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        try:
            content = json.loads(self._path.read_text())
        except FileNotFoundError:
            content = {}
        self.api_keys: dict[str, str] = content.get("api_keys", {})
        self.webhook_secrets: dict[str, str] = content.get("webhook_secrets", {})
        self._channels: dict[str, dict[str, str]] = content.get("channels", {})

    def simpay(self, channel_id: str) -> dict[str, str]:
        """The shared secret of a simpay channel."""
        if channel_id not in self._channels:
            self._channels[channel_id] = {"secret": secrets.token_hex(32)}
            self.save()
        return dict(self._channels[channel_id])

    def wechat(self, channel_id: str, *, mchid: str, appid: str) -> dict[str, str]:
        """A WeChat merchant's own keys, by the names the gateway's connector knows them."""
        if channel_id not in self._channels:
            key = rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=RSA_BITS)
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            self._channels[channel_id] = {
                "mchid": mchid,
                "appid": appid,
                "apiv3_key": secrets.token_hex(APIV3_KEY_BYTES // 2),
                "merchant_serial": secrets.token_hex(20).upper(),
                "merchant_private_key_pem": pem.decode(),
            }
            self.save()
        return dict(self._channels[channel_id])

    def save(self) -> None:
        """Write the file anew, atomically, readable by its owner alone."""
        content = {
            "api_keys": self.api_keys,
            "webhook_secrets": self.webhook_secrets,
            "channels": self._channels,
        }
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.draft")
        secrets_file.write_private(draft, json.dumps(content, indent=1))
        draft.replace(self._path)


def public_key_pem(private_key_pem: str) -> str:
    """The public half of a private key."""
    key = serialization.load_pem_private_key(private_key_pem.encode(), None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
