"""The configuration of an endpoint: its served entities and how traffic is split among them.

Source: Databricks REST reference, serving endpoints, create (`config`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from moorage.api.served_entities import (
    EntityKind,
    ServedEntityInput,
    ServedEntityOutput,
    ServedEntitySummary,
    ServedModelInput,
    ServedModelOutput,
    ServedModelSummary,
)
from moorage.api.table_names import TablePart
from moorage.api.wire import Count, Text, WireInput, WireOutput, missing_field

_MOST_ENTITIES = 15


class RouteInput(WireInput):
    """The share of one served entity, under its newer or its older key."""

    served_entity_name: Text | None = None
    served_model_name: Text | None = None
    traffic_percentage: Annotated[Count, Field(le=100)]

    @model_validator(mode="after")
    def _one_target(self) -> RouteInput:
        names = {self.served_entity_name, self.served_model_name} - {None}
        if not names:
            raise missing_field("served_entity_name")
        if len(names) == 2:
            raise ValueError("'served_entity_name' and 'served_model_name' must be equal when both are given")
        return self

    @property
    def target(self) -> str:
        return self.served_entity_name or self.served_model_name or ""


class TrafficConfigInput(WireInput):
    routes: tuple[RouteInput, ...] = ()


class AutoCaptureChange(WireInput):
    """The older inference table as an update gives it: the place may be left out where it is fixed already."""

    catalog_name: TablePart | None = None
    schema_name: TablePart | None = None
    table_name_prefix: TablePart | None = None
    enabled: bool = True


class AutoCaptureInput(AutoCaptureChange):
    """The older inference table. `{"enabled": false}` alone means none."""

    @model_validator(mode="after")
    def _place_when_enabled(self) -> AutoCaptureInput:
        for field in ("catalog_name", "schema_name"):
            if self.enabled and getattr(self, field) is None:
                raise missing_field(field)
        return self


class ServedInput(WireInput):
    """What to serve. `entities` and `traffic` are the entities and their shares with every default in place."""

    served_entities: tuple[ServedEntityInput, ...] | None = None
    served_models: tuple[ServedModelInput, ...] | None = None
    traffic_config: TrafficConfigInput | None = None

    @model_validator(mode="after")
    def _legal_entities(self) -> ServedInput:
        if self.served_entities and self.served_models:
            raise ValueError("give either 'served_entities' or the older 'served_models', not both")
        entities = self.entities
        if not entities:
            raise ValueError("'served_entities' must hold at least one served entity")
        if len(entities) > _MOST_ENTITIES:
            raise ValueError(f"'served_entities' may hold at most {_MOST_ENTITIES} entities, {len(entities)} given")
        _refuse_duplicates("served_entities", [entity.served_name for entity in entities])
        if len({entity.kind for entity in entities}) > 1:
            raise ValueError(
                "'served_entities' must be of one kind: custom models, external models and "
                "provisioned throughput do not share an endpoint"
            )
        if len({entity.external_model.task for entity in entities if entity.external_model}) > 1:
            raise ValueError("'served_entities' with external models must all have the same 'task'")
        return self

    @model_validator(mode="after")
    def _legal_traffic(self) -> ServedInput:
        names = [entity.served_name for entity in self.entities]
        given = self.traffic_config.routes if self.traffic_config else ()
        if not given:
            if len(names) > 1:
                raise ValueError("'traffic_config' is required with several served entities; it gives each its share")
            return self
        for route in given:
            if route.target not in names:
                known = ", ".join(f"'{name}'" for name in names)
                raise ValueError(
                    f"'traffic_config' routes to '{route.target}', which is no served entity; known: {known}"
                )
        _refuse_duplicates("traffic_config", [route.target for route in given])
        total = sum(route.traffic_percentage for route in given)
        if total != 100:
            raise ValueError(f"'traffic_config' percentages must add up to 100, they add up to {total}")
        return self

    @property
    def entities(self) -> tuple[ServedEntityInput, ...]:
        if self.served_entities:
            return self.served_entities
        return tuple(model.as_entity() for model in self.served_models or ())

    @property
    def kind(self) -> EntityKind:
        return self.entities[0].kind

    @property
    def traffic(self) -> TrafficConfig:
        given = self.traffic_config.routes if self.traffic_config else ()
        if not given:
            return TrafficConfig(routes=(Route.to(self.entities[0].served_name, 100),))
        return TrafficConfig(routes=tuple(Route.to(r.target, r.traffic_percentage) for r in given))


class ConfigInput(ServedInput):
    """The configuration that an endpoint is created with."""

    auto_capture_config: AutoCaptureInput | None = None


class UpdateConfig(ServedInput):
    """The body that replaces a configuration; without `auto_capture_config` that setting stays as it is."""

    auto_capture_config: AutoCaptureChange | None = None


def _refuse_duplicates(field: str, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"'{field}' names '{name}' {count} times; each name must be unique")


class Route(WireOutput):
    served_model_name: str
    served_entity_name: str
    traffic_percentage: int

    @classmethod
    def to(cls, name: str, percentage: int) -> Route:
        return cls(served_model_name=name, served_entity_name=name, traffic_percentage=percentage)


class TrafficConfig(WireOutput):
    routes: tuple[Route, ...]


class PayloadTable(WireOutput):
    """`status` is ACTIVE, or FAILED when rows cannot be delivered; it is not there before the first row."""

    name: str
    status: str | None = None
    status_message: str | None = None


class AutoCaptureState(WireOutput):
    payload_table: PayloadTable


class AutoCaptureOutput(WireOutput):
    catalog_name: str | None = None
    schema_name: str | None = None
    table_name_prefix: str | None = None
    enabled: bool
    state: AutoCaptureState | None = None

    @classmethod
    def of(cls, given: AutoCaptureChange, endpoint_name: str) -> AutoCaptureOutput:
        """The setting as echoed; the prefix of the table defaults to the endpoint's name."""
        if not given.enabled:
            return cls(**given.model_dump())
        prefix = given.table_name_prefix or endpoint_name
        state = AutoCaptureState(payload_table=PayloadTable(name=f"{prefix}_payload"))
        return cls(**{**given.model_dump(), "table_name_prefix": prefix}, state=state)


class ConfigOutput(WireOutput):
    """`served_models` mirrors every custom model of `served_entities`; where there is none it is left out."""

    served_entities: tuple[ServedEntityOutput, ...]
    served_models: tuple[ServedModelOutput, ...] | None = None
    traffic_config: TrafficConfig
    auto_capture_config: AutoCaptureOutput | None = None
    config_version: int


class PendingConfigOutput(ConfigOutput):
    start_time: int


class ConfigSummary(WireOutput):
    served_entities: tuple[ServedEntitySummary, ...]
    served_models: tuple[ServedModelSummary, ...] | None = None
