"""The value of a secret, between its row and those who may have it."""

from __future__ import annotations

from moorage.control.store.models import Secret
from moorage.encryption import Encryption

_SECRET = "secret"


def encrypt_secret(encryption: Encryption, scope: str, key: str, value: bytes) -> bytes:
    """The ciphertext for the row of that secret, and of no other."""
    return encryption.encrypt(value, _SECRET, scope, key)


def decrypt_secret(encryption: Encryption, row: Secret) -> bytes:
    """
    Raises:
        CannotDecrypt: the row is damaged, or was written with another key.
    """
    return encryption.decrypt(row.ciphertext, _SECRET, row.scope, row.key)
