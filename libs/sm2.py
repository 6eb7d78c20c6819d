"""SM2 signatures (GB/T 32918.2) with SM3 and the signer's identifier, by OpenSSL.

`cryptography` offers SM3 and SM4 but no SM2, so this calls the libcrypto that Python's own `ssl` module is linked with
(docs/decisions/0028). A call holds no lock of the interpreter while OpenSSL works, so threads run side by side.
"""

import ctypes
import ctypes.util
import functools
import ssl
import weakref
from pathlib import Path
from typing import Final, Self

SCALAR_BYTES: Final = 32
POINT_BYTES: Final = 65
SIGNATURE_BYTES: Final = 64
USER_ID_BYTES_MAX: Final = 8_191  # its length in bits must fit into two bytes
OPENSSL_MAJOR_MIN: Final = 3
_UNCOMPRESSED: Final = 4
# The order of the base point. A private key of order - 1 cannot sign: the standard divides by key + 1.
_ORDER: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
_OK: Final = 1
_DER_SIGNATURE_BYTES_MAX: Final = 80
_SEQUENCE, _INTEGER, _OCTETS, _BITS = 0x30, 0x02, 0x04, 0x03
_LONG_FORM: Final = 0x80
# id-ecPublicKey with the curve SM2 (1.2.156.10197.1.301).
_ALGORITHM: Final = bytes.fromhex("301306072a8648ce3d020106082a811ccf5501822d")
_PROCESS_MAPS: Final = Path("/proc/self/maps")

_POINTER: Final = ctypes.c_void_p
_SIGNATURES: Final = {
    "OpenSSL_version_num": (ctypes.c_ulong, ()),
    "ERR_clear_error": (None, ()),
    "d2i_AutoPrivateKey": (_POINTER, (_POINTER, _POINTER, ctypes.c_long)),
    "d2i_PUBKEY": (_POINTER, (_POINTER, _POINTER, ctypes.c_long)),
    "i2d_PUBKEY": (ctypes.c_int, (_POINTER, _POINTER)),
    "EVP_PKEY_is_a": (ctypes.c_int, (_POINTER, ctypes.c_char_p)),
    "EVP_PKEY_free": (None, (_POINTER,)),
    "EVP_PKEY_CTX_new": (_POINTER, (_POINTER, _POINTER)),
    "EVP_PKEY_CTX_free": (None, (_POINTER,)),
    "EVP_PKEY_CTX_set1_id": (ctypes.c_int, (_POINTER, ctypes.c_char_p, ctypes.c_size_t)),
    "EVP_MD_CTX_new": (_POINTER, ()),
    "EVP_MD_CTX_free": (None, (_POINTER,)),
    "EVP_MD_CTX_set_pkey_ctx": (None, (_POINTER, _POINTER)),
    "EVP_sm3": (_POINTER, ()),
    "EVP_DigestSignInit": (ctypes.c_int, (_POINTER,) * 5),
    "EVP_DigestSign": (
        ctypes.c_int,
        (_POINTER, _POINTER, _POINTER, ctypes.c_char_p, ctypes.c_size_t),
    ),
    "EVP_DigestVerifyInit": (ctypes.c_int, (_POINTER,) * 5),
    "EVP_DigestVerify": (
        ctypes.c_int,
        (_POINTER, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t),
    ),
}  # fmt: skip


class Sm2Unavailable(Exception):
    """This machine's OpenSSL cannot do SM2, or there is none."""


class Sm2KeyInvalid(ValueError):
    """Not a key on the SM2 curve."""


class PrivateKey:
    """Signs. Safe for use by several threads."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        _free_with(self, handle)

    @classmethod
    def from_raw(cls, scalar: bytes) -> Self:
        """From the 32 bytes that are the key. Raises Sm2KeyInvalid, Sm2Unavailable."""
        if len(scalar) != SCALAR_BYTES:
            raise Sm2KeyInvalid(f"an SM2 private key is {SCALAR_BYTES} bytes")
        if not 0 < int.from_bytes(scalar) < _ORDER - 1:
            raise Sm2KeyInvalid("the private key is out of range")
        inner = _tlv(_SEQUENCE, _tlv(_INTEGER, b"\1") + _tlv(_OCTETS, scalar))
        der = _tlv(_SEQUENCE, _tlv(_INTEGER, b"\0") + _ALGORITHM + _tlv(_OCTETS, inner))
        return cls(_load("d2i_AutoPrivateKey", der))

    def sign(self, message: bytes, user_id: bytes) -> bytes:
        """r and s, 32 bytes each."""
        crypto = _libcrypto()
        with _Context(self._handle, user_id, "EVP_DigestSignInit") as context:
            signature = ctypes.create_string_buffer(_DER_SIGNATURE_BYTES_MAX)
            length = ctypes.c_size_t(_DER_SIGNATURE_BYTES_MAX)
            made = crypto.EVP_DigestSign(
                context, signature, ctypes.byref(length), message, len(message)
            )
            if made != _OK:
                raise _failed("EVP_DigestSign")
            return _raw(signature.raw[: length.value])

    def public_key(self) -> "PublicKey":
        """The other half."""
        return PublicKey.from_raw(_point(self._handle))


class PublicKey:
    """Verifies. Safe for use by several threads."""

    def __init__(self, handle: int, point: bytes) -> None:
        self._handle = handle
        _free_with(self, handle)
        self.point = point
        """The uncompressed point: 4, x, y."""

    @classmethod
    def from_raw(cls, point: bytes) -> Self:
        """From an uncompressed point. Raises Sm2KeyInvalid, Sm2Unavailable."""
        if len(point) != POINT_BYTES or point[0] != _UNCOMPRESSED:
            raise Sm2KeyInvalid(f"an SM2 public key is {POINT_BYTES} bytes and begins with 4")
        return cls(
            _load("d2i_PUBKEY", _tlv(_SEQUENCE, _ALGORITHM + _tlv(_BITS, b"\0" + point))), point
        )

    def verify(self, signature: bytes, message: bytes, user_id: bytes) -> bool:
        """Whether r and s are this key's signature of the message."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        crypto = _libcrypto()
        der = _der(signature)
        with _Context(self._handle, user_id, "EVP_DigestVerifyInit") as context:
            verdict = crypto.EVP_DigestVerify(context, der, len(der), message, len(message))
            if verdict != _OK:
                crypto.ERR_clear_error()
            return bool(verdict == _OK)


class _Context:
    """A digest bound to a key and the signer's identifier, for one signature."""

    def __init__(self, key: int, user_id: bytes, opening: str) -> None:
        if len(user_id) > USER_ID_BYTES_MAX:
            raise ValueError("the signer's identifier is too long")
        self._key, self._user_id, self._opening = key, user_id, opening
        self._digest: int | None = None
        self._pkey: int | None = None

    def __enter__(self) -> int:
        crypto = _libcrypto()
        self._digest = crypto.EVP_MD_CTX_new()
        self._pkey = crypto.EVP_PKEY_CTX_new(self._key, None)
        if not (self._digest and self._pkey):
            self.__exit__()
            raise MemoryError
        # The identifier goes in before the digest starts, for the digest begins with it.
        ready = crypto.EVP_PKEY_CTX_set1_id(self._pkey, self._user_id, len(self._user_id)) == _OK
        if ready:
            crypto.EVP_MD_CTX_set_pkey_ctx(self._digest, self._pkey)
            opening = getattr(crypto, self._opening)
            ready = opening(self._digest, None, crypto.EVP_sm3(), None, self._key) == _OK
        if not ready:
            self.__exit__()
            raise _failed(self._opening)
        return self._digest

    def __exit__(self, *_: object) -> None:
        crypto = _libcrypto()
        crypto.EVP_MD_CTX_free(self._digest)
        crypto.EVP_PKEY_CTX_free(self._pkey)


@functools.cache
def _libcrypto() -> ctypes.CDLL:
    """Raises Sm2Unavailable."""
    try:
        library = ctypes.CDLL(_path())
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        major = library.OpenSSL_version_num() >> 28
    except (OSError, AttributeError) as error:
        raise Sm2Unavailable(f"no libcrypto with SM2: {error}") from error
    if major < OPENSSL_MAJOR_MIN:
        raise Sm2Unavailable(f"OpenSSL {OPENSSL_MAJOR_MIN} is needed, this is {major}")
    return library


def _path() -> str:
    """The libcrypto of this process, else what the system would load. Raises OSError."""
    if _PROCESS_MAPS.exists() and ssl.OPENSSL_VERSION:
        for line in _PROCESS_MAPS.read_text("utf-8", "replace").splitlines():
            path = line.rpartition(" ")[2]
            if path.startswith("/") and Path(path).name.startswith("libcrypto."):
                return path
    found = ctypes.util.find_library("crypto")
    if found is None:
        raise OSError("not found")
    return found


def _load(function: str, der: bytes) -> int:
    crypto = _libcrypto()
    buffer = ctypes.create_string_buffer(der, len(der))
    at = ctypes.c_void_p(ctypes.addressof(buffer))
    handle = getattr(crypto, function)(None, ctypes.byref(at), len(der))
    if not handle:
        crypto.ERR_clear_error()
        raise Sm2KeyInvalid("not a key on the SM2 curve")
    if crypto.EVP_PKEY_is_a(handle, b"SM2") != _OK:
        crypto.EVP_PKEY_free(handle)
        raise Sm2Unavailable("this OpenSSL was built without SM2")
    return int(handle)


def _point(handle: int) -> bytes:
    crypto = _libcrypto()
    buffer = ctypes.create_string_buffer(max(crypto.i2d_PUBKEY(handle, None), 0))
    at = ctypes.c_void_p(ctypes.addressof(buffer))
    if crypto.i2d_PUBKEY(handle, ctypes.byref(at)) < POINT_BYTES:
        raise _failed("i2d_PUBKEY")
    return buffer.raw[-POINT_BYTES:]


def _free_with(owner: object, handle: int) -> None:
    weakref.finalize(owner, _libcrypto().EVP_PKEY_free, handle).atexit = False


def _failed(function: str) -> Sm2Unavailable:
    _libcrypto().ERR_clear_error()
    return Sm2Unavailable(f"{function} failed")


def _tlv(tag: int, value: bytes) -> bytes:
    length = len(value)
    if length < _LONG_FORM:
        return bytes((tag, length)) + value
    return bytes((tag, _LONG_FORM | 1, length)) + value


def _der(signature: bytes) -> bytes:
    """SEQUENCE of two INTEGERs, each in its shortest form."""
    parts = b""
    for half in (signature[:SCALAR_BYTES], signature[SCALAR_BYTES:]):
        digits = half.lstrip(b"\0") or b"\0"
        parts += _tlv(_INTEGER, b"\0" + digits if digits[0] & _LONG_FORM else digits)
    return _tlv(_SEQUENCE, parts)


def _raw(der: bytes) -> bytes:
    """What OpenSSL wrote: SEQUENCE of two INTEGERs, all lengths in one byte."""
    r_end = 4 + der[3]
    r, s = der[4:r_end], der[r_end + 2 :]
    return b"".join(part[-SCALAR_BYTES:].rjust(SCALAR_BYTES, b"\0") for part in (r, s))
