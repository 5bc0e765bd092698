"""The OAuth authorization server, browser sessions, and sign-in at an OpenID Connect provider."""
