"""The keys that sign access tokens. They are in the data directory, never in the database."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeyParameters, KeySet

_ALGORITHM = "ES256"
_PEM = re.compile(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----\n?", re.DOTALL)
_PARAMETERS: KeyParameters = {"use": "sig", "alg": _ALGORITHM}


class SigningKeys:
    """The keys in one PEM file. The first signs, all verify: a key is replaced by putting a new one before it."""

    def __init__(self, path: Path) -> None:
        """Read the file; it is made, with mode 0600, when there is none.

        Raises:
            ValueError: the file holds no P-256 private key.
            OSError: it cannot be read or made.
        """
        _make(path)
        self._keys = [ECKey.import_key(pem, _PARAMETERS) for pem in _PEM.findall(path.read_bytes())]
        for key in self._keys:
            if not key.is_private or key.curve_name != "P-256":
                raise ValueError(f"{path} may only hold P-256 private keys")
            key.ensure_kid()  # the thumbprint: the same key has the same id after a restart
        if not self._keys:
            raise ValueError(f"{path} holds no key")
        self._set = KeySet([*self._keys])

    def sign(self, claims: dict[str, Any], purpose: str) -> str:
        """A JWT. `purpose` is its `typ`, without which nothing verifies it."""
        key = self._keys[0]
        return jwt.encode({"alg": _ALGORITHM, "kid": key.kid, "typ": purpose}, claims, key)

    def verify(self, text: str, purpose: str, now: int) -> dict[str, Any] | None:
        """The claims of a JWT of ours for that purpose which has not expired. `now` is seconds."""
        try:
            token = jwt.decode(text, self._set, algorithms=[_ALGORITHM])
            jwt.JWTClaimsRegistry(now=now, exp={"essential": True}).validate(token.claims)
        except (JoseError, ValueError):
            return None
        return token.claims if token.header.get("typ") == purpose else None

    def public(self) -> dict[str, Any]:
        """The JSON Web Key Set: what others verify with."""
        return dict(self._set.as_dict(private=False))


def _make(path: Path) -> None:
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(ECKey.generate_key("P-256").as_pem(private=True))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
