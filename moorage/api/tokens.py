"""Personal access tokens on the wire. Source: Databricks REST reference, tokens (create, list, delete)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from moorage.api.wire import Count, ShortText, Text, WireInput, WireOutput

_LONGEST_LIFETIME_SECONDS = 100 * 365 * 24 * 3600


class CreateToken(WireInput):
    """Without `lifetime_seconds` the token does not expire."""

    comment: Annotated[Text, Field(max_length=1000)] = ""
    lifetime_seconds: Annotated[Count, Field(gt=0, le=_LONGEST_LIFETIME_SECONDS)] | None = None
    scopes: tuple[Text, ...] | None = None

    @field_validator("scopes")
    @classmethod
    def _whole_rights_only(cls, scopes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        # A token that ignored its scopes would open more than its owner asked for.
        if scopes and set(scopes) != {"all-apis"}:
            raise ValueError("may only hold 'all-apis'; tokens with fewer rights are not supported")
        return scopes


class DeleteToken(WireInput):
    token_id: ShortText


class TokenInfo(WireOutput):
    """`expiry_time` is -1 for a token that does not expire. Times are milliseconds since the epoch."""

    token_id: str
    creation_time: int
    expiry_time: int
    comment: str


class CreatedToken(WireOutput):
    """The only answer that holds the token's text."""

    token_value: str
    token_info: TokenInfo


class TokenList(WireOutput):
    token_infos: tuple[TokenInfo, ...]
