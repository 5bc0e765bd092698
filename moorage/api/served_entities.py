"""Served entities: what an endpoint runs, how big, and with which variables.

Source: Databricks REST reference, serving endpoints, create (`served_entities`, the older `served_models`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from moorage.api.engines import EngineModel, FoundationModelOutput
from moorage.api.external_models import ExternalModelInput, ExternalModelOutput, ExternalTask, Provider
from moorage.api.wire import Count, Name, ShortText, Text, WireInput, WireOutput, missing_field, name_from
from moorage.api.workloads import (
    CONCURRENCY_PER_REPLICA,
    SIZES,
    ConcurrencyRange,
    WorkloadSize,
    WorkloadType,
    replicas_for,
)

_MOST_CONCURRENCY = 1024
_MOST_VARIABLES = 30
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)


class EntityKind(StrEnum):
    """What a served entity is, from the fields that it has."""

    CUSTOM_MODEL = "CUSTOM_MODEL"
    EXTERNAL_MODEL = "EXTERNAL_MODEL"
    PROVISIONED_THROUGHPUT = "PROVISIONED_THROUGHPUT"
    FOUNDATION_MODEL = "FOUNDATION_MODEL_API"  # of the catalogue, for everybody


def _number_as_text(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _model_version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise ValueError("must be the number of a model version, such as '1'")
    return text


def _model_name(text: str) -> str:
    """A workspace name such as `ads1`, or dotted levels such as `catalog.schema.model`."""
    if any(character in "/:" or not character.isprintable() for character in text):
        raise ValueError("must be a registered model's name without '/', ':' and control characters")
    if not all(level.strip() for level in text.split(".")):
        raise ValueError("must not have an empty level; write 'model' or 'catalog.schema.model'")
    return text


EntityName = Annotated[ShortText, AfterValidator(_model_name)]
EntityVersion = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_model_version)]
Concurrency = Annotated[Count, Field(le=_MOST_CONCURRENCY, multiple_of=CONCURRENCY_PER_REPLICA)]


class _Workload(WireInput):
    """What `served_entities` and `served_models` have in common."""

    name: Name | None = None
    workload_size: WorkloadSize | None = None
    workload_type: WorkloadType = WorkloadType.CPU
    scale_to_zero_enabled: bool = False
    min_provisioned_concurrency: Concurrency | None = None
    max_provisioned_concurrency: Concurrency | None = None
    min_provisioned_throughput: Count | None = None
    max_provisioned_throughput: Count | None = None
    provisioned_model_units: Count | None = None
    burst_scaling_enabled: bool = True
    environment_vars: dict[str, Text] = Field(default_factory=dict)
    instance_profile_arn: Text | None = None

    @field_validator("environment_vars", mode="before")
    @classmethod
    def _null_is_unset(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: text for name, text in value.items() if text is not None}
        return value

    @field_validator("environment_vars")
    @classmethod
    def _legal_variables(cls, variables: dict[str, str]) -> dict[str, str]:
        if len(variables) > _MOST_VARIABLES:
            raise ValueError(f"may hold at most {_MOST_VARIABLES} variables, {len(variables)} given")
        for name in variables:
            if not _VARIABLE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no variable name; use letters, digits and '_', and no digit first")
        return variables

    @model_validator(mode="after")
    def _one_way_to_size(self) -> _Workload:
        low, high = self.min_provisioned_concurrency, self.max_provisioned_concurrency
        if low is None and high is None:
            return self
        if self.workload_size is not None:
            raise ValueError(
                "give either 'workload_size' or 'min_provisioned_concurrency' and "
                "'max_provisioned_concurrency', not both"
            )
        if low is None:
            raise missing_field("min_provisioned_concurrency")
        if high is None:
            raise missing_field("max_provisioned_concurrency")
        if high == 0 or low > high:
            raise ValueError(
                "'max_provisioned_concurrency' must be at least 4 and at least 'min_provisioned_concurrency'"
            )
        if low == 0 and not self.scale_to_zero_enabled:
            raise ValueError("'min_provisioned_concurrency' 0 needs 'scale_to_zero_enabled' true")
        return self

    @model_validator(mode="after")
    def _throughput_in_order(self) -> _Workload:
        low, high = self.min_provisioned_throughput, self.max_provisioned_throughput
        if low is not None and high is not None and low > high:
            raise ValueError("'max_provisioned_throughput' must be at least 'min_provisioned_throughput'")
        return self

    @property
    def provisions_throughput(self) -> bool:
        given = (
            self.min_provisioned_throughput,
            self.max_provisioned_throughput,
            self.provisioned_model_units,
        )
        return any(value is not None for value in given)


class ServedEntityInput(_Workload):
    """An element of `served_entities`: a registered model, or an external one."""

    entity_name: EntityName | None = None
    entity_version: EntityVersion | None = None
    external_model: ExternalModelInput | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> ServedEntityInput:
        if self.external_model is None:
            if self.entity_name is None:
                raise missing_field("entity_name")
            if self.entity_version is None:
                raise missing_field("entity_version")
            return self
        for field in (
            "entity_name",
            "entity_version",
            "workload_size",
            "workload_type",
            "scale_to_zero_enabled",
            "min_provisioned_concurrency",
            "max_provisioned_concurrency",
            "min_provisioned_throughput",
            "max_provisioned_throughput",
            "provisioned_model_units",
            "environment_vars",
            "instance_profile_arn",
        ):
            if field in self.model_fields_set:
                raise ValueError(f"'{field}' does not go with 'external_model'")
        return self

    @property
    def kind(self) -> EntityKind:
        if self.external_model is not None:
            return EntityKind.EXTERNAL_MODEL
        if self.provisions_throughput:
            return EntityKind.PROVISIONED_THROUGHPUT
        return EntityKind.CUSTOM_MODEL

    @property
    def served_name(self) -> str:
        """The name given, or the default: an external model's own, otherwise last name level and version."""
        if self.name is not None:
            return self.name
        if self.external_model is not None:
            return name_from(self.external_model.name)
        assert self.entity_name is not None
        return name_from(self.entity_name.rpartition(".")[2], f"-{self.entity_version}")


class ServedModelInput(_Workload):
    """An element of the older `served_models`."""

    model_name: EntityName
    model_version: EntityVersion
    scale_to_zero_enabled: bool = Field()

    def as_entity(self) -> ServedEntityInput:
        fields = {name: getattr(self, name) for name in self.model_fields_set}
        fields["entity_name"] = fields.pop("model_name")
        fields["entity_version"] = fields.pop("model_version")
        return ServedEntityInput.model_validate(fields)


class CustomModelSpec(WireInput):
    """A custom model as stored with its deployment: every default resolved."""

    name: Name
    entity_name: EntityName
    entity_version: EntityVersion
    workload_size: WorkloadSize | None = None
    workload_type: WorkloadType = WorkloadType.CPU
    scale_to_zero_enabled: bool = False
    min_provisioned_concurrency: int | None = None
    max_provisioned_concurrency: int | None = None
    burst_scaling_enabled: bool = True
    environment_vars: dict[str, str] = Field(default_factory=dict)
    instance_profile_arn: str | None = None

    @classmethod
    def of(cls, entity: ServedEntityInput) -> CustomModelSpec:
        """The spec of an entity of kind CUSTOM_MODEL; without any size it is Small."""
        fields = entity.model_dump(exclude_none=True)
        fields["name"] = entity.served_name
        if entity.max_provisioned_concurrency is None:
            fields.setdefault("workload_size", WorkloadSize.SMALL)
        return cls.model_validate(fields)

    @property
    def concurrency(self) -> ConcurrencyRange:
        """The range asked for; the minimum is 0 where the entity may scale to zero."""
        if self.max_provisioned_concurrency is not None:
            size = ConcurrencyRange(self.min_provisioned_concurrency or 0, self.max_provisioned_concurrency)
        else:
            size = SIZES[self.workload_size or WorkloadSize.SMALL]
        return ConcurrencyRange(0, size.maximum) if self.scale_to_zero_enabled else size

    @property
    def replicas(self) -> ConcurrencyRange:
        """As many as give room for that."""
        size = self.concurrency
        return ConcurrencyRange(replicas_for(size.minimum), max(1, replicas_for(size.maximum)))


class ExternalModelSpec(WireInput):
    """A provider's model as stored with its deployment.

    `options` and the names of credentials are those of `moorage.external.exchange.Target`. A credential is in
    `references` where it is kept in a secret (`{{secrets/SCOPE/KEY}}`), in `sealed` where it was given as text.
    """

    name: Name
    provider: Provider
    model: ShortText
    task: ExternalTask
    options: dict[str, str] = Field(default_factory=dict)
    references: dict[str, str] = Field(default_factory=dict)
    sealed: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, entity: ServedEntityInput, seal: Callable[[str], str]) -> ExternalModelSpec:
        """The spec of an entity of kind EXTERNAL_MODEL. `seal` makes what may be stored of a credential's text."""
        external = entity.external_model
        assert external is not None
        return cls(
            name=entity.served_name,
            provider=external.provider,
            model=external.name,
            task=external.task,
            options=external.config.options,
            references=external.config.references,
            sealed={name: seal(text.get_secret_value()) for name, text in external.config.plaintexts.items()},
        )

    @property
    def shown(self) -> ExternalModelOutput:
        """The external model as answers show it."""
        return ExternalModelOutput.of(self.model, self.provider, self.task, self.options, self.references)


class EngineModelSpec(WireInput):
    """A model that an engine of this machine runs, as stored with its deployment.

    `foundation_model` is there for a model of the catalogue. Of the throughput that was asked for only one form is
    there; `model.slots` is what it comes to.
    """

    name: Name
    entity_name: EntityName
    entity_version: EntityVersion = "1"
    model: EngineModel
    foundation_model: FoundationModelOutput | None = None
    scale_to_zero_enabled: bool = False
    burst_scaling_enabled: bool = True
    provisioned_model_units: int | None = None
    min_provisioned_throughput: int | None = None
    max_provisioned_throughput: int | None = None

    @property
    def task(self) -> ExternalTask:
        return self.model.task

    @property
    def replicas(self) -> ConcurrencyRange:
        """One engine works on all requests."""
        return ConcurrencyRange(0 if self.scale_to_zero_enabled else 1, 1)


EntitySpec = CustomModelSpec | ExternalModelSpec | EngineModelSpec
"""A served entity as stored with its deployment."""


def stored_spec(document: Mapping[str, Any]) -> EntitySpec:
    """The spec in a deployment's column."""
    if "provider" in document:
        return ExternalModelSpec.model_validate(document)
    return (EngineModelSpec if "model" in document else CustomModelSpec).model_validate(document)


class DeploymentState(WireOutput):
    """`deployment` is one of DEPLOYMENT_CREATING, _READY, _FAILED, _ABORTED, _RECOVERING."""

    deployment: str
    deployment_state_message: str = ""


class _ServedOutput(WireOutput):
    name: str
    workload_size: str | None = None
    workload_type: str | None = None
    scale_to_zero_enabled: bool | None = None
    min_provisioned_concurrency: int | None = None
    max_provisioned_concurrency: int | None = None
    environment_vars: dict[str, str] | None = None
    instance_profile_arn: str | None = None
    creator: str
    creation_timestamp: int
    state: DeploymentState


class ServedEntityOutput(_ServedOutput):
    """A registered model has the `entity_` fields and a size, an external one has `external_model`, one of the
    catalogue `foundation_model`."""

    entity_name: str | None = None
    entity_version: str | None = None
    external_model: ExternalModelOutput | None = None
    foundation_model: FoundationModelOutput | None = None
    provisioned_model_units: int | None = None
    min_provisioned_throughput: int | None = None
    max_provisioned_throughput: int | None = None


class ServedModelOutput(_ServedOutput):
    model_name: str
    model_version: str

    @classmethod
    def mirror(cls, entity: ServedEntityOutput) -> ServedModelOutput | None:
        """A served custom model in the older list; what is none is not in it."""
        if entity.entity_name is None or entity.entity_version is None or entity.workload_type is None:
            return None
        return cls(**entity.model_dump(), model_name=entity.entity_name, model_version=entity.entity_version)


class ServedEntitySummary(WireOutput):
    name: str
    entity_name: str | None = None
    entity_version: str | None = None
    external_model: ExternalModelOutput | None = None
    foundation_model: FoundationModelOutput | None = None


class ServedModelSummary(WireOutput):
    name: str
    model_name: str
    model_version: str
