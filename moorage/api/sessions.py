"""A browser's session: signed in once, kept in a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moorage.api.wire import Text, WireInput, WireOutput

SESSION_COOKIE = "moorage_session"


class SignIn(WireInput):
    """Any credential that this server takes as a bearer token."""

    token: Annotated[Text, Field(min_length=1, max_length=8192)]


class SessionInfo(WireOutput):
    """Who is signed in, and until when in milliseconds since the epoch."""

    user_name: str
    expiry_time: int


class SessionState(WireOutput):
    """What a page has to know before anything else. The caller's fields are absent when nobody is signed in.

    `sign_in_with_provider` says whether `/oidc/login` leads to an OpenID Connect provider.
    """

    version: str
    sign_in_with_provider: bool
    user_name: str | None = None
    user_id: str | None = None
    display_name: str | None = None
    is_admin: bool | None = None


class CreateSignInLink(WireInput):
    """For the user whom the link is to sign in."""

    user_name: Annotated[Text, Field(min_length=1, max_length=255)]


class SignInLink(WireOutput):
    """It works once. `expiry_time` is milliseconds since the epoch."""

    url: str
    expiry_time: int
