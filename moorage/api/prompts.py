"""Prompts of Unity Catalog as MLflow's client asks for them. Source: MLflow, unity_catalog_prompt_messages.proto.

A prompt has numbered versions, each with a template. Timestamps are RFC 3339 text in UTC, as JSON spells protobuf's.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from moorage.api.wire import Count, Text, WireInput, WireOutput

_PART = re.compile(r"[A-Za-z0-9_-]+")
_VERSION = re.compile(r"[0-9]{1,18}")
_LEVELS = 3
_MOST_AT_ONCE = 1000
_MOST_LINKED = 100


def _prompt_name(name: str) -> str:
    parts = name.split(".")
    if len(parts) != _LEVELS or "" in parts:
        raise ValueError("specify all three levels of the prompt's name, as in 'catalog.schema.prompt'")
    if not all(_PART.fullmatch(part) for part in parts):
        raise ValueError("may hold only letters, digits, '_' and '-', and the dots between its three levels")
    return name


def _part(name: str) -> str:
    if not _PART.fullmatch(name):
        raise ValueError("must be letters, digits, '_' and '-'")
    return name


def _version(version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise ValueError("must be a version number")
    return version


def _identifier(text: str) -> str:
    if "/" in text or not text.strip("."):
        raise ValueError("must be an id")
    return text


PromptName = Annotated[str, AfterValidator(_prompt_name)]
VersionNumber = Annotated[str, AfterValidator(_version)]
_NamePart = Annotated[str, AfterValidator(_part)]
_Key = Annotated[Text, Field(min_length=1)]
_PageSize = Annotated[Count, Field(ge=1, le=_MOST_AT_ONCE)]


class PromptTag(WireInput):
    key: _Key
    value: Text = ""


class PromptAlias(WireOutput):
    alias: str
    version: str


class PromptInput(WireInput):
    """What is said of a prompt when it is made or changed."""

    description: Text | None = None
    tags: tuple[PromptTag, ...] = ()


class CreatePrompt(WireInput):
    name: PromptName
    prompt: PromptInput = PromptInput()


class UpdatePrompt(WireInput):
    """What is not given stays as it is; tags are added to those that there are."""

    prompt: PromptInput


class NewPromptVersion(WireInput):
    """`template` is JSON: a string, or an array of chat messages. `description` is the commit message."""

    template: Text
    description: Text | None = None
    tags: tuple[PromptTag, ...] = ()


class CreatePromptVersion(WireInput):
    prompt_version: NewPromptVersion


class PromptVersionInput(WireInput):
    """As `NewPromptVersion`; `template` may be given where it is the one that the version has."""

    template: Text | None = None
    description: Text | None = None
    tags: tuple[PromptTag, ...] = ()


class UpdatePromptVersion(WireInput):
    """What is not given stays as it is; tags are added to those that there are."""

    prompt_version: PromptVersionInput


class UnityCatalogSchema(WireInput):
    catalog_name: _NamePart
    schema_name: _NamePart


class SearchPromptVersions(WireInput):
    """Newest first. `page_token` is the last answer's `next_page_token`; an empty one asks for the first page."""

    max_results: _PageSize = 100
    page_token: Text = ""


class SearchPrompts(SearchPromptVersions):
    """By name. `filter` is one of MLflow's for registered models; names in it have all three parts."""

    catalog_schema: UnityCatalogSchema
    filter: Text = ""


class SetPromptAlias(WireInput):
    version: VersionNumber


class PromptVersionLink(WireInput):
    """A version of a prompt that something else uses."""

    name: PromptName
    version: VersionNumber


_Links = Annotated[tuple[PromptVersionLink, ...], Field(max_length=_MOST_LINKED)]
_Id = Annotated[Text, AfterValidator(_identifier)]
_Ids = Annotated[tuple[_Id, ...], Field(max_length=_MOST_LINKED)]


class LinkToModels(WireInput):
    """`model_ids` are ids of logged models."""

    prompt_versions: _Links
    model_ids: _Ids


class LinkToTraces(WireInput):
    prompt_versions: _Links
    trace_ids: _Ids


class LinkToRuns(WireInput):
    prompt_versions: _Links
    run_ids: _Ids


class Prompt(WireOutput):
    """`aliases` are those of all versions."""

    name: str
    creation_timestamp: str
    last_updated_timestamp: str
    description: str | None
    aliases: tuple[PromptAlias, ...]
    tags: tuple[PromptTag, ...]


class PromptList(WireOutput):
    """A page: it may be shorter than was asked for, and is the last one only without a token."""

    prompts: tuple[Prompt, ...]
    next_page_token: str | None


class PromptVersion(WireOutput):
    """`template` is JSON, as in `NewPromptVersion`."""

    name: str
    version: str
    creation_timestamp: str
    last_updated_timestamp: str
    description: str | None
    template: str
    aliases: tuple[PromptAlias, ...]
    tags: tuple[PromptTag, ...]


class PromptVersionList(WireOutput):
    prompt_versions: tuple[PromptVersion, ...]
    next_page_token: str | None
