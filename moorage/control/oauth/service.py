"""The parts of the authorization server, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorage.control.dependencies import ControlDependencies, Site
from moorage.control.oauth.client_secrets import ClientSecrets
from moorage.control.oauth.sessions import BrowserSessions
from moorage.control.oauth.short_lived_tokens import ShortLivedTokens
from moorage.control.oauth.signing import SigningKeys
from moorage.control.oauth.token_endpoint import TokenEndpoint

if TYPE_CHECKING:
    from moorage.control.oauth.identity_provider import IdentityProvider


class OAuthService:
    """`provider` is None where no OpenID Connect provider is configured."""

    def __init__(self, deps: ControlDependencies, site: Site) -> None:
        """
        Raises:
            OSError, ValueError: the signing key cannot be read or made.
        """
        keys = SigningKeys(deps.data.oauth_signing_key)
        self.tokens = ShortLivedTokens(deps, site, keys)
        self.token_endpoint = TokenEndpoint(self.tokens)
        self.client_secrets = ClientSecrets(deps)
        self.sessions = BrowserSessions(self.tokens)
        self.secure_cookies = site.base_url.startswith("https://")
        self.provider: IdentityProvider | None = None
        if deps.settings.oidc_issuer is not None:
            # Most servers have none, and importing it takes a while.
            from moorage.control.oauth.identity_provider import IdentityProvider

            self.provider = IdentityProvider(deps.settings, keys, f"{site.base_url}/oidc/callback")
