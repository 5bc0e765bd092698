"""OAuth on the wire: its metadata, tokens and errors, and the secrets of service principals.

Source: RFC 6749, 7636, 8414 and 9396, and what the public clients read (databricks-sdk `oauth`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from moorage.api.errors import ApiError
from moorage.api.tokens import Scopes
from moorage.api.wire import Text, WireInput, WireOutput

_DURATION = re.compile(r"([0-9]{1,12})s?")
_LONGEST_SECRET_SECONDS = 730 * 24 * 3600
_ENDPOINT_PATH = re.compile(r"/?serving-endpoints/([^/]+)")


class OAuthError(ApiError):
    """A refusal in OAuth's own form, `{"error", "error_description"}`. `code` is one of RFC 6749 or 9396."""

    def __init__(
        self, code: str, description: str, *, status: int = 400, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(description, headers={"Cache-Control": "no-store", **(headers or {})})
        self.status = status
        self.code = code

    def body(self) -> dict[str, Any]:
        return {"error": self.code, "error_description": self.message}


class InvalidClient(OAuthError):
    """The client is unknown, or its secret is wrong or missing."""

    def __init__(self, description: str = "The client id or the client secret is wrong.") -> None:
        super().__init__(
            "invalid_client", description, status=401, headers={"WWW-Authenticate": 'Basic realm="Moorage OAuth"'}
        )


class InvalidGrant(OAuthError):
    """A code, refresh token or assertion that is unknown, expired, used or bound to another client."""

    def __init__(self, description: str) -> None:
        super().__init__("invalid_grant", description)


class InvalidRequest(OAuthError):
    def __init__(self, description: str) -> None:
        super().__init__("invalid_request", description)


class AuthorizationServerMetadata(WireOutput):
    """RFC 8414, which is OpenID Connect's discovery document too."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    response_types_supported: tuple[str, ...]
    grant_types_supported: tuple[str, ...]
    code_challenge_methods_supported: tuple[str, ...]
    token_endpoint_auth_methods_supported: tuple[str, ...]
    scopes_supported: tuple[str, ...]
    subject_types_supported: tuple[str, ...]
    id_token_signing_alg_values_supported: tuple[str, ...]


class OAuthTokenAnswer(WireOutput):
    """`expires_in` is seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    scope: str
    refresh_token: str | None = None


def _endpoint_path(path: str) -> str:
    if not _ENDPOINT_PATH.fullmatch(path):
        raise ValueError("must be '/serving-endpoints/' and the id of an endpoint")
    return path


class AuthorizationDetail(WireInput):
    """What a data-plane token may do with one endpoint."""

    type: Literal["workspace_permission"]
    object_type: Literal["serving-endpoints"]
    object_path: Annotated[Text, AfterValidator(_endpoint_path)]
    actions: Annotated[
        frozenset[Literal["query_inference_endpoint", "manage_inference_endpoint"]], Field(min_length=1)
    ]

    @property
    def endpoint_id(self) -> str:
        return self.object_path.rpartition("/")[2]


AUTHORIZATION_DETAILS: TypeAdapter[tuple[AuthorizationDetail]] = TypeAdapter(
    tuple[AuthorizationDetail], config=ConfigDict(hide_input_in_errors=True)
)


def _lifetime(text: str) -> str:
    match = _DURATION.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= _LONGEST_SECRET_SECONDS:
        raise ValueError(f"must be a number of seconds such as '3600s', at most '{_LONGEST_SECRET_SECONDS}s'")
    return text


class CreateClientSecret(WireInput):
    """`lifetime` is seconds as in `3600s`; without it the secret lives for 730 days."""

    lifetime: Annotated[str, AfterValidator(_lifetime)] = f"{_LONGEST_SECRET_SECONDS}s"
    scopes: Scopes = ()

    @property
    def lifetime_seconds(self) -> int:
        return int(self.lifetime.removesuffix("s"))


class ClientSecretInfo(WireOutput):
    """Times are RFC 3339 in UTC."""

    id: str
    secret_hash: str
    status: Literal["ACTIVE", "EXPIRED"]
    create_time: str
    update_time: str
    expire_time: str


class CreatedClientSecret(ClientSecretInfo):
    """The only answer that holds the secret."""

    secret: str


class ClientSecretList(WireOutput):
    secrets: tuple[ClientSecretInfo, ...]
