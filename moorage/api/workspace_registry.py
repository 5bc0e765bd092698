"""Registered models as the workspace's registry shows them.

Timestamps are milliseconds since the epoch, and `user_id` is the name of who made the object, where that is known.
Source: Databricks REST reference, workspace model registry.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moorage.api.legacy import ModelVersionTag
from moorage.api.permissions import ModelLevel
from moorage.api.wire import Count, ShortText, Text, WireInput, WireOutput

_MOST_MODELS = 1000


class OfRegisteredModel(WireInput):
    """A request about a registered model."""

    name: ShortText


class OfModelList(WireInput):
    """A page of the list of models."""

    max_results: Annotated[Count, Field(ge=1, le=_MOST_MODELS)] = 100
    page_token: Text | None = None


class ModelTag(WireOutput):
    key: str
    value: str


class LatestVersion(WireOutput):
    """The newest version of a model in one stage. Artifact URIs are as Databricks clients take them."""

    name: str
    version: str
    creation_timestamp: int | None = None
    last_updated_timestamp: int | None = None
    user_id: str | None = None
    current_stage: str | None = None
    description: str | None = None
    source: str | None = None
    run_id: str | None = None
    run_link: str | None = None
    status: str | None = None
    status_message: str | None = None
    tags: tuple[ModelVersionTag, ...] = ()


class RegisteredModel(WireOutput):
    """A model with the newest version of each stage."""

    name: str
    creation_timestamp: int | None = None
    last_updated_timestamp: int | None = None
    user_id: str | None = None
    description: str | None = None
    latest_versions: tuple[LatestVersion, ...] = ()
    tags: tuple[ModelTag, ...] = ()


class RegisteredModelDatabricks(RegisteredModel):
    """`id` names the model where its permissions are asked for; `permission_level` is the caller's."""

    id: str
    permission_level: ModelLevel


class RegisteredModelAnswer(WireOutput):
    registered_model_databricks: RegisteredModelDatabricks


class RegisteredModelList(WireOutput):
    """A page: models that the caller may not read are left out of it. With a `next_page_token` there are others."""

    registered_models: tuple[RegisteredModel, ...]
    next_page_token: str | None = None
