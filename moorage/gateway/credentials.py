"""Opens the credentials in routes to providers' models. They are sealed there: the routing snapshot is on disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from moorage.api.routing import ExternalRoute, credential_purpose
from moorage.datadir import DataDirectory
from moorage.settings import ENCRYPTION_KEY_VARIABLE

if TYPE_CHECKING:
    from moorage.encryption import Encryption


class CredentialProblem(Exception):
    """Credentials cannot be opened; the message says why, and nothing of them."""


class CredentialOpener:
    """Reads the encryption key when the first credential comes: a gateway without any needs no key."""

    def __init__(self, data: DataDirectory, environ: Mapping[str, str] | None = None) -> None:
        self._data = data
        self._environ = os.environ if environ is None else environ
        self._encryption: Encryption | None = None

    def open(self, endpoint_id: str, route: ExternalRoute) -> dict[str, str]:
        """The credentials of one model in plain text.

        Raises:
            CredentialProblem: see there.
        """
        if not route.credentials:
            return {}
        from moorage.encryption import CannotDecrypt

        purpose = credential_purpose(endpoint_id)
        if self._encryption is not None:
            with contextlib.suppress(CannotDecrypt):  # the key may have been replaced since it was read
                return _opened(self._encryption, purpose, route)
        try:
            return _opened(self._load(), purpose, route)
        except CannotDecrypt as error:
            raise CredentialProblem(f"a credential of the provider cannot be decrypted: {error}") from error

    def _load(self) -> Encryption:
        from moorage.encryption import BadKey, Encryption, parse_key

        try:
            text = self._environ.get(ENCRYPTION_KEY_VARIABLE) or self._data.encryption_key.read_text("ascii")
            self._encryption = Encryption(parse_key(text))
        except (BadKey, OSError, ValueError) as error:
            raise CredentialProblem(f"the encryption key cannot be read: {error}") from error
        return self._encryption


def _opened(encryption: Encryption, purpose: str, route: ExternalRoute) -> dict[str, str]:
    return {name: encryption.open(purpose, sealed) for name, sealed in route.credentials.items()}
