"""Sign-in at an OpenID Connect provider: authorization code with PKCE, state and nonce.

Source: OpenID Connect Core 1.0, sections 3.1 and 5.3.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from requests import RequestException

from moorage.api.errors import ApiError, PermissionDenied, TemporarilyUnavailable
from moorage.control.oauth.sessions import ATTEMPT_SECONDS, VerifiedUser
from moorage.control.oauth.signing import SigningKeys
from moorage.settings import Settings

_logger = logging.getLogger(__name__)

_ATTEMPT_TYPE = "moorage-sign-in+jwt"
_SCOPE = "openid email profile"
_REQUEST_SECONDS = 10.0
_METADATA_SECONDS = 600.0
_CLOCK_LEEWAY_SECONDS = 60
# Not the symmetric ones: the provider's public key would pass for a shared secret.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class IdentityProvider:
    """One provider. What belongs to an attempt to sign in is in the browser, signed."""

    def __init__(self, settings: Settings, keys: SigningKeys, redirect_uri: str) -> None:
        """`settings` name an issuer."""
        self._settings = settings
        self._keys = keys
        self._redirect_uri = redirect_uri
        self._metadata: tuple[float, dict[str, Any]] | None = None

    def begin(self, return_to: str) -> tuple[str, str]:
        """Where to send the browser, and what it must bring back in a cookie within `ATTEMPT_SECONDS`.

        Raises:
            TemporarilyUnavailable: the provider does not answer as it should.
        """
        attempt = {
            "state": secrets.token_urlsafe(24),
            "nonce": secrets.token_urlsafe(24),
            "verifier": secrets.token_urlsafe(48),
            "return_to": return_to,
        }
        with self._session() as session:
            endpoint = self._read_metadata(session)["authorization_endpoint"]
            url, _ = session.create_authorization_url(
                endpoint, state=attempt["state"], nonce=attempt["nonce"], code_verifier=attempt["verifier"]
            )
        cookie = self._keys.sign({**attempt, "exp": int(time.time()) + ATTEMPT_SECONDS}, _ATTEMPT_TYPE)
        return str(url), cookie

    def finish(self, cookie: str, answer: Mapping[str, str]) -> tuple[VerifiedUser, str]:
        """Who has signed in, and where in this server they wanted to go.

        Raises:
            PermissionDenied: the answer is not the provider's to this browser, or the user may not sign in here.
            TemporarilyUnavailable: the provider does not answer as it should.
        """
        attempt = self._keys.verify(cookie, _ATTEMPT_TYPE, int(time.time()))
        if attempt is None or not secrets.compare_digest(
            answer.get("state", "").encode(), str(attempt["state"]).encode()
        ):
            raise PermissionDenied("This sign-in was not begun in this browser, or it took too long. Sign in again.")
        if "code" not in answer:
            raise PermissionDenied(f"The identity provider refused: {answer.get('error', 'no code')}.")
        with self._session() as session:
            try:
                claims = self._identify(session, answer["code"], attempt)
            except ApiError:
                raise
            except (AuthlibBaseError, JoseError, RequestException, KeyError, ValueError) as error:
                _logger.warning("sign-in at the identity provider failed: %s: %s", type(error).__name__, error)
                raise PermissionDenied("The identity provider's answer is not valid. Sign in again.") from None
        return self._allowed(claims), str(attempt["return_to"])

    def _identify(self, session: OAuth2Session, code: str, attempt: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of the ID token, and those of the user that only the provider's own page about them has."""
        metadata = self._read_metadata(session)
        token = session.fetch_token(
            metadata["token_endpoint"], grant_type="authorization_code", code=code, code_verifier=attempt["verifier"]
        )
        answer = session.get(metadata["jwks_uri"], withhold_token=True)
        answer.raise_for_status()
        signed = jwt.decode(token["id_token"], KeySet.import_key_set(answer.json()), algorithms=_ALGORITHMS)
        client_id = self._settings.oidc_client_id
        claims = CodeIDToken(
            signed.claims,
            signed.header,
            options={
                "iss": {"essential": True, "value": metadata["issuer"]},
                "aud": {"essential": True, "value": client_id},
            },
            params={"nonce": attempt["nonce"], "client_id": client_id, "access_token": token.get("access_token")},
        )
        claims.validate(leeway=_CLOCK_LEEWAY_SECONDS)
        found = dict(claims)
        if "email" not in found and "userinfo_endpoint" in metadata:
            answer = session.get(metadata["userinfo_endpoint"])
            answer.raise_for_status()
            about = answer.json()
            if about["sub"] != found["sub"]:
                raise ValueError("the user information is of somebody else")
            found.update({name: about[name] for name in ("email", "email_verified", "name") if name in about})
        return found

    def _allowed(self, claims: Mapping[str, Any]) -> VerifiedUser:
        email = claims.get("email")
        if not isinstance(email, str) or not email.isprintable() or email.count("@") != 1 or len(email) > 255:
            raise PermissionDenied("The identity provider gives no e-mail address for this user.")
        if claims.get("email_verified") not in (True, "true"):
            raise PermissionDenied(f"The identity provider has not verified that '{email}' is this user's address.")
        domains = {domain.lower() for domain in self._settings.oidc_allowed_domains}
        if domains and email.rpartition("@")[2].lower() not in domains:
            raise PermissionDenied(f"Users of '{email.rpartition('@')[2]}' may not sign in here.")
        return VerifiedUser(email, str(claims.get("name") or ""))

    def _session(self) -> OAuth2Session:
        secret = self._settings.oidc_client_secret
        return OAuth2Session(
            self._settings.oidc_client_id,
            secret.get_secret_value() if secret is not None else None,
            token_endpoint_auth_method="client_secret_basic" if secret is not None else "none",
            scope=_SCOPE,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            default_timeout=_REQUEST_SECONDS,
        )

    def _read_metadata(self, session: OAuth2Session) -> dict[str, Any]:
        known, now = self._metadata, time.monotonic()
        if known is not None and now - known[0] < _METADATA_SECONDS:
            return known[1]
        issuer = str(self._settings.oidc_issuer)
        try:
            answer = session.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", withhold_token=True)
            answer.raise_for_status()
            metadata: dict[str, Any] = answer.json()
            if metadata["issuer"] != issuer:
                raise ValueError(f"it says that it is '{metadata['issuer']}'")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not isinstance(metadata[name], str):
                    raise ValueError(f"{name} is no text")
        except (RequestException, KeyError, TypeError, ValueError) as error:
            _logger.warning("the identity provider %s cannot be used: %s: %s", issuer, type(error).__name__, error)
            raise TemporarilyUnavailable("The identity provider does not answer as it should.") from None
        self._metadata = (now, metadata)
        return metadata
