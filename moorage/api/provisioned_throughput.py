"""Endpoints with provisioned throughput on the wire, and whether a model can have it.

Source: Databricks REST reference, serving endpoints, create and update a provisioned throughput endpoint.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from moorage.api.ai_gateway import AiGateway
from moorage.api.configs import TrafficConfigInput
from moorage.api.endpoints import EmailNotifications, EndpointName, Tag
from moorage.api.served_entities import EntityName, EntityVersion
from moorage.api.wire import Count, Name, ShortText, WireInput, WireOutput


class PtServedModel(WireInput):
    """A foundation model and the model units that it gets."""

    entity_name: EntityName
    entity_version: EntityVersion | None = None
    name: Name | None = None
    provisioned_model_units: Count
    burst_scaling_enabled: bool = True


class PtConfig(WireInput):
    served_entities: Annotated[tuple[PtServedModel, ...], Field(min_length=1)]
    traffic_config: TrafficConfigInput | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The same as a configuration of other endpoints has it. A model of the catalogue has one version."""
        document = self.model_dump(mode="json", exclude_none=True)
        for entity in document["served_entities"]:
            entity.setdefault("entity_version", "1")
        return document


class CreatePtEndpoint(WireInput):
    name: EndpointName
    config: PtConfig
    ai_gateway: AiGateway | None = None
    budget_policy_id: ShortText | None = None
    email_notifications: EmailNotifications | None = None
    tags: tuple[Tag, ...] = ()


class UpdatePtConfig(WireInput):
    """Unlike the update of other endpoints, the configuration is under a key of its own."""

    config: PtConfig


class ModelOptimizationInfo(WireOutput):
    """Whether a model can be served with provisioned throughput, and in which steps of tokens per second or of model
    units; `message` says why not."""

    optimizable: bool
    message: str | None = None
    model_type: str | None = None
    throughput_chunk_size: int | None = None
    model_unit_chunk_size: int | None = None
