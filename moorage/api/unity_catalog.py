"""Registered models in Unity Catalog on the wire, in both of its dialects: MLflow's and Unity Catalog's own.

Source: MLflow, `protos/databricks_uc_registry_messages` and `protos/unity_catalog_messages`; Databricks REST
reference, registered models and model versions. Timestamps are milliseconds since the epoch; members that are not
known are left out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from moorage.api.wire import Count, ShortText, Text, WireInput, WireOutput, missing_field

HIDDEN_TAGS = "moorage."
"""What the keys of the server's own tags begin with."""
PROMPT_TAG = "mlflow.prompt.is_prompt"
"""MLflow's own: with value `true` a registered model or a version is a prompt."""
_LEVELS = 3
_LONGEST_NAME = 255
_LONGEST_SOURCE = 4096
_LONGEST_TEXT = 65_535
_LONGEST_VALUE = 100_000
_LONGEST_KEY = 250
_LONGEST_VERSION = 9  # digits; MLflow keeps it in 32 bits
_NOT_IN_NAMES = frozenset("/:. ")


def _check_part(part: str) -> str:
    """A name of one level: a catalog's, a schema's, or a model's within its schema."""
    if not part or not part.isprintable() or _NOT_IN_NAMES & set(part):
        raise ValueError("must be a name without spaces, '.', '/' and ':'")
    _check_quotes(part)
    return part


def _check_quotes(name: str) -> None:
    # MLflow's own search has no way to say such a name.
    if "'" in name and '"' in name:
        raise ValueError("must not hold both kinds of quotes")


def check_full_name(name: str) -> str:
    """The rule for names of models in Unity Catalog.

    Raises:
        ValueError: not `catalog.schema.model`.
    """
    parts = name.split(".")
    if len(parts) != _LEVELS or not all(parts):
        # MLflow's client looks for "specify all three levels".
        raise ValueError("must specify all three levels of a name in Unity Catalog, as catalog.schema.model")
    for part in parts:
        _check_part(part)
    _check_quotes(name)
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"must have at most {_LONGEST_NAME} characters")
    return name


def is_full_name(name: str) -> bool:
    """Whether a registered model of that name is one in Unity Catalog."""
    try:
        check_full_name(name)
    except ValueError:
        return False
    return True


def _check_version(version: str) -> str:
    if not (version.isascii() and version.isdigit() and 1 <= len(version) <= _LONGEST_VERSION and int(version)):
        raise ValueError("must be the number of a version, such as 1")
    return str(int(version))


def _text_of_number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_key(key: str) -> str:
    if key.startswith(HIDDEN_TAGS):
        raise ValueError(f"must not begin with '{HIDDEN_TAGS}': the server has its own tags there")
    if key == PROMPT_TAG:
        raise ValueError(f"must not be '{PROMPT_TAG}': it makes a prompt of a model; register a prompt instead")
    return key


def _none_of_empty(value: Any) -> Any:
    # MLflow's client sends an empty text for the run of a model that was logged without one.
    return None if value == "" else value


def _not_here(value: str) -> str:
    if value:
        raise ValueError("must be left out: this server has no deployment jobs")
    return value


FullName = Annotated[Text, AfterValidator(check_full_name)]
NamePart = Annotated[Text, Field(max_length=_LONGEST_NAME), AfterValidator(_check_part)]
VersionText = Annotated[Text, BeforeValidator(_text_of_number), AfterValidator(_check_version)]
VersionNumber = Annotated[Count, Field(ge=1, lt=10**_LONGEST_VERSION)]
TagKey = Annotated[Text, Field(min_length=1, max_length=_LONGEST_KEY), AfterValidator(_check_key)]
TagValue = Annotated[Text, Field(max_length=_LONGEST_VALUE)]
LongText = Annotated[Text, Field(max_length=_LONGEST_TEXT)]
Source = Annotated[Text, Field(min_length=1, max_length=_LONGEST_SOURCE)]
KnownId = Annotated[ShortText | None, BeforeValidator(_none_of_empty)]
DeploymentJob = Annotated[Text, AfterValidator(_not_here)]


class VersionStatus(StrEnum):
    PENDING_REGISTRATION = "PENDING_REGISTRATION"
    FAILED_REGISTRATION = "FAILED_REGISTRATION"
    READY = "READY"


class GivenTag(WireInput):
    key: TagKey
    value: TagValue = ""


class Tag(WireOutput):
    key: str
    value: str


class Page(WireInput):
    """Which part of a list. Without `max_results`, or with 0, it is for the server to say how much that is."""

    max_results: Count = 0
    page_token: Text = ""


# MLflow's dialect.


class OfCatalogModel(WireInput):
    """A request about a registered model."""

    name: FullName


class CreateCatalogModel(OfCatalogModel):
    description: LongText = ""
    tags: tuple[GivenTag, ...] = ()
    deployment_job_id: DeploymentJob = ""


class UpdateCatalogModel(OfCatalogModel):
    """What is not given stays."""

    new_name: FullName | None = None
    description: LongText | None = None
    deployment_job_id: DeploymentJob = ""


class SetCatalogModelTag(OfCatalogModel):
    key: TagKey
    value: TagValue = ""


class OfCatalogModelTag(OfCatalogModel):
    key: TagKey


class OfCatalogAlias(OfCatalogModel):
    alias: ShortText


class SetCatalogAlias(OfCatalogAlias):
    version: VersionText


class OfCatalogVersion(OfCatalogModel):
    """A request about a version of a registered model."""

    version: VersionText


class CreateCatalogVersion(OfCatalogModel):
    """`source` is what the version is made from; its files are uploaded after this."""

    source: Source
    run_id: KnownId = None
    description: LongText = ""
    tags: tuple[GivenTag, ...] = ()
    model_id: KnownId = None
    run_tracking_server_id: KnownId = None


class UpdateCatalogVersion(OfCatalogVersion):
    description: LongText | None = None


class SetCatalogVersionTag(OfCatalogVersion):
    key: TagKey
    value: TagValue = ""


class OfCatalogVersionTag(OfCatalogVersion):
    key: TagKey


class SearchCatalogVersions(Page):
    filter: Text = ""


class CatalogAlias(WireOutput):
    alias: str
    version: str


class CatalogModelOutput(WireOutput):
    """`user_id` is the name of who made it."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None
    description: str
    aliases: tuple[CatalogAlias, ...]
    tags: tuple[Tag, ...]


class CatalogVersionOutput(WireOutput):
    """As the model's. `model_id` is the logged model that it was made from, or else the one that has its files."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None
    description: str
    source: str
    run_id: str | None
    run_experiment_id: str | None
    run_tracking_server_id: str | None
    status: VersionStatus
    status_message: str
    storage_location: str | None
    aliases: tuple[CatalogAlias, ...]
    tags: tuple[Tag, ...]
    model_id: str | None


class CatalogModelAnswer(WireOutput):
    registered_model: CatalogModelOutput


class CatalogModelPage(WireOutput):
    """It may be short, even empty: with a `next_page_token` there are others."""

    registered_models: tuple[CatalogModelOutput, ...]
    next_page_token: str | None


class CatalogVersionAnswer(WireOutput):
    model_version: CatalogVersionOutput


class CatalogVersionPage(WireOutput):
    """As `CatalogModelPage`."""

    model_versions: tuple[CatalogVersionOutput, ...]
    next_page_token: str | None


class DownloadUri(WireOutput):
    artifact_uri: str


class FilesApiForModels(WireOutput):
    """Whether clients move the files of models through the Files API."""

    is_databricks_sdk_models_artifact_repository_enabled: bool


# Unity Catalog's own dialect.


class CreateRegisteredModel(WireInput):
    """A model by the parts of its name."""

    catalog_name: NamePart
    schema_name: NamePart
    name: NamePart
    comment: LongText = ""
    storage_location: Text = ""
    tags: tuple[GivenTag, ...] = ()
    deployment_job_id: DeploymentJob = ""

    @property
    def full_name(self) -> str:
        return f"{self.catalog_name}.{self.schema_name}.{self.name}"

    @model_validator(mode="after")
    def _legal(self) -> Self:
        check_full_name(self.full_name)
        return self


class UpdateRegisteredModel(WireInput):
    """What is not given stays. `new_name` is the model's within its schema, or a full name."""

    new_name: Text | None = None
    comment: LongText | None = None
    owner: ShortText | None = None
    deployment_job_id: DeploymentJob = ""


class ListRegisteredModels(Page):
    """Those of a schema, or all."""

    catalog_name: NamePart | None = None
    schema_name: NamePart | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if self.catalog_name is None and self.schema_name is not None:
            raise missing_field("catalog_name")
        if self.schema_name is None and self.catalog_name is not None:
            raise missing_field("schema_name")
        _check_quotes(self.start)
        return self

    @property
    def start(self) -> str:
        """What the full names of those models begin with."""
        return "" if self.catalog_name is None else f"{self.catalog_name}.{self.schema_name}."


class IncludeAliases(WireInput):
    include_aliases: bool = False


class SetAlias(WireInput):
    version_num: VersionNumber


class UpdateModelVersion(WireInput):
    """Of a version only the comment can be changed; clients send other members along."""

    comment: LongText | None = None


class CreateModelVersion(WireInput):
    catalog_name: NamePart
    schema_name: NamePart
    model_name: NamePart
    source: Source
    run_id: KnownId = None
    comment: LongText = ""
    tags: tuple[GivenTag, ...] = ()
    model_id: KnownId = None
    run_tracking_server_id: KnownId = None

    @property
    def full_name(self) -> str:
        return f"{self.catalog_name}.{self.schema_name}.{self.model_name}"

    @model_validator(mode="after")
    def _legal(self) -> Self:
        check_full_name(self.full_name)
        return self


class TagChanges(WireInput):
    add_tags: tuple[GivenTag, ...] = ()
    remove: tuple[TagKey, ...] = ()


class UpdateTags(WireInput):
    """Tags to set and keys of tags to remove."""

    changes: TagChanges


class RegisteredModelAlias(WireOutput):
    alias_name: str
    version_num: int
    model_name: str
    catalog_name: str
    schema_name: str


class RegisteredModelInfo(WireOutput):
    """`owner` and `created_by` are names of users or application ids of service principals."""

    name: str
    catalog_name: str
    schema_name: str
    full_name: str
    comment: str
    owner: str | None
    created_at: int
    created_by: str | None
    updated_at: int
    storage_location: str
    browse_only: bool
    aliases: tuple[RegisteredModelAlias, ...] | None
    tags: tuple[Tag, ...] | None


class RegisteredModelPage(WireOutput):
    """As `CatalogModelPage`."""

    registered_models: tuple[RegisteredModelInfo, ...]
    next_page_token: str | None


class ModelVersionInfo(WireOutput):
    model_name: str
    catalog_name: str
    schema_name: str
    version: int
    source: str
    comment: str
    run_id: str | None
    run_workspace_id: int | None
    status: VersionStatus
    storage_location: str | None
    created_at: int
    created_by: str | None
    updated_at: int
    id: str | None
    model_id: str | None
    aliases: tuple[RegisteredModelAlias, ...] | None
    tags: tuple[Tag, ...] | None


class ModelVersionPage(WireOutput):
    """As `CatalogModelPage`."""

    model_versions: tuple[ModelVersionInfo, ...]
    next_page_token: str | None
