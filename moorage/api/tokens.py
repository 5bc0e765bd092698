"""Personal access tokens on the wire. Source: Databricks REST reference, tokens and token management."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from moorage.api.wire import Count, ShortText, Text, WireInput, WireOutput

_LONGEST_LIFETIME_SECONDS = 100 * 365 * 24 * 3600
_EDITABLE = ("comment", "scopes")


def _whole_rights_only(scopes: tuple[str, ...]) -> tuple[str, ...]:
    # A token that ignored its scopes would open more than its owner asked for.
    if scopes and set(scopes) != {"all-apis"}:
        raise ValueError("may only hold 'all-apis'; tokens with fewer rights are not supported")
    return scopes


Comment = Annotated[Text, Field(max_length=1000)]
LifetimeSeconds = Annotated[Count, Field(gt=0, le=_LONGEST_LIFETIME_SECONDS)]
Scopes = Annotated[tuple[Text, ...], AfterValidator(_whole_rights_only)]


class CreateToken(WireInput):
    """Without `lifetime_seconds` the token does not expire."""

    comment: Comment = ""
    lifetime_seconds: LifetimeSeconds | None = None
    scopes: Scopes = ()


class CreateOnBehalfToken(CreateToken):
    """A token for the service principal of that application id."""

    application_id: ShortText


class DeleteToken(WireInput):
    token_id: ShortText


class EditedToken(WireInput):
    """What of a token can be edited; other fields that clients send along are ignored."""

    comment: Comment = ""
    scopes: Scopes = ()


class EditToken(WireInput):
    """`update_mask` names the fields to take from `token`, separated by commas; `*` is all of them."""

    token: EditedToken = EditedToken()
    update_mask: ShortText

    @field_validator("update_mask")
    @classmethod
    def _known_fields(cls, mask: str) -> str:
        if mask != "*" and not set(mask.split(",")) <= set(_EDITABLE):
            raise ValueError(f"may only name {' and '.join(_EDITABLE)}, separated by a comma")
        return mask

    @property
    def comment(self) -> str | None:
        """The new comment, or None when it stays."""
        return self.token.comment if self.update_mask == "*" or "comment" in self.update_mask.split(",") else None


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


class ManagedTokenInfo(TokenInfo):
    """A token as administrators see it. Ids are digits, and numbers here."""

    created_by_id: int
    created_by_username: str
    owner_id: int
    workspace_id: int


class ManagedToken(WireOutput):
    token_info: ManagedTokenInfo


class ManagedTokenList(WireOutput):
    token_infos: tuple[ManagedTokenInfo, ...]


class CreatedOnBehalfToken(WireOutput):
    """The only answer that holds the token's text."""

    token_value: str
    token_info: ManagedTokenInfo
