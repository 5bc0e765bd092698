"""Encryption of values at rest: AES-256-GCM under a key that is never in the database.

A ciphertext is a version byte, the id of its key (4 bytes), a random nonce (12 bytes), and what AES-GCM gives, tag
included. It opens only with the context that it was made for, so that it is worth nothing in another place. The id is
the beginning of a digest of the key; with it values of two keys can lie side by side while one replaces the other.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
SEALED_PREFIX = "moorage-sealed:1:"
"""What every token of `seal` begins with."""

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_HEADER_BYTES = len(_VERSION) + _KEY_ID_BYTES
_NONCE_BYTES = 12
_KEY_ID_PURPOSE = b"moorage encryption key id\0"
_SEALED = "sealed"


class BadKey(Exception):
    """A text that is no encryption key."""


class CannotDecrypt(Exception):
    """Damaged, made for another place, or made with a key that is not here. The message says no more."""


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


def key_text(key: bytes) -> str:
    """The key as files and variables hold it: URL-safe base64."""
    return urlsafe_b64encode(key).decode("ascii")


def parse_key(text: str) -> bytes:
    """
    Raises:
        BadKey: not 32 bytes in URL-safe base64.
    """
    try:
        key = b64decode(text.strip().encode("ascii", "replace"), altchars=b"-_", validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadKey(f"not an encryption key: {KEY_BYTES} bytes in URL-safe base64")
    return key


class Encryption:
    """Encrypts with one key; decrypts with it and, while it replaces them, with others. Safe to share by threads."""

    def __init__(self, key: bytes, *replaced: bytes) -> None:
        self._key_id = _key_id(key)
        self._ciphers = {_key_id(one): AESGCM(one) for one in (*replaced, key)}

    def encrypt(self, plain: bytes, *context: str) -> bytes:
        """The ciphertext of `plain` for that place; a different one each time."""
        header, nonce = _VERSION + self._key_id, os.urandom(_NONCE_BYTES)
        return header + nonce + self._ciphers[self._key_id].encrypt(nonce, plain, _associated(header, context))

    def decrypt(self, ciphertext: bytes, *context: str) -> bytes:
        """What was encrypted for that place.

        Raises:
            CannotDecrypt: see there.
        """
        header = ciphertext[:_HEADER_BYTES]
        cipher = self._ciphers.get(header[len(_VERSION) :])
        if cipher is None or not header.startswith(_VERSION):
            raise CannotDecrypt("it was encrypted with another key")
        nonce, rest = ciphertext[_HEADER_BYTES:][:_NONCE_BYTES], ciphertext[_HEADER_BYTES + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, rest, _associated(header, context))
        except (InvalidTag, ValueError):
            raise CannotDecrypt("it is damaged, or was encrypted for another place") from None

    def seal(self, purpose: str, text: str) -> str:
        """A token to keep in a text or JSON column in place of `text`. `purpose` names the place that it is for.

        Rotation of the key finds such tokens wherever they are in the database.
        """
        return _token(purpose, self.encrypt(text.encode(), _SEALED, purpose))

    def open(self, purpose: str, token: str) -> str:
        """The text that was sealed for that purpose.

        Raises:
            CannotDecrypt: see there; or `token` is no token of `seal`.
        """
        sealed_for, ciphertext = _parse_token(token)
        if sealed_for != purpose:
            raise CannotDecrypt("it was encrypted for another place")
        return self.decrypt(ciphertext, _SEALED, purpose).decode()

    def reseal(self, token: str) -> str:
        """The same text for the same purpose under the present key; raises as `open` does."""
        purpose, _ = _parse_token(token)
        return self.seal(purpose, self.open(purpose, token))


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(_KEY_ID_PURPOSE + key).digest()[:_KEY_ID_BYTES]


def same_key_id(one: bytes, other: bytes) -> bool:
    """Whether ciphertexts could not tell these keys apart, so that one must not replace the other."""
    return _key_id(one) == _key_id(other)


def _associated(header: bytes, context: tuple[str, ...]) -> bytes:
    """Header and context as bytes that no other header and context give."""
    parts = [part.encode() for part in context]
    return header + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _token(purpose: str, ciphertext: bytes) -> str:
    return SEALED_PREFIX + ".".join(urlsafe_b64encode(part).decode() for part in (purpose.encode(), ciphertext))


def _parse_token(token: str) -> tuple[str, bytes]:
    """Purpose and ciphertext."""
    try:
        purpose, ciphertext = token.removeprefix(SEALED_PREFIX).split(".")
        if token.startswith(SEALED_PREFIX):
            return urlsafe_b64decode(purpose).decode(), urlsafe_b64decode(ciphertext)
    except ValueError:  # not two parts, no base64, no UTF-8
        pass
    raise CannotDecrypt("it is no sealed value")
