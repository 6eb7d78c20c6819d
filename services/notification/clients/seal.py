"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA256, https://github.com/fernet/spec)."""

from cryptography.fernet import Fernet


class FernetSeal:
    """Seals texts under one key."""

    def __init__(self, key: str) -> None:
        """The key is url-safe base64 of 32 bytes. Raises ValueError otherwise."""
        self._fernet = Fernet(key)

    def close(self, text: str) -> bytes:
        """The text, sealed."""
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """What was sealed. Raises InvalidToken for what another key has sealed."""
        return self._fernet.decrypt(sealed).decode()
