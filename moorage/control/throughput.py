"""Provisioned throughput: which models engines of this machine can run, and what was asked for comes to.

A model unit is one slot of an engine: a request that it works on. Tokens per second come in chunks of a slot too.
What a slot gives depends on the model and the machine, so that the chunk is a convention.

Source: Databricks documentation, provisioned throughput Foundation Model APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.api.engines import CatalogueEntry, Engine, EngineModel, FoundationModelOutput
from moorage.api.errors import InternalError, InvalidParameterValue, ResourceDoesNotExist
from moorage.api.external_models import ExternalTask
from moorage.api.provisioned_throughput import ModelOptimizationInfo
from moorage.api.served_entities import EngineModelSpec, ServedEntityInput
from moorage.engines import catalogue
from moorage.registry.client import ModelFiles, ModelRegistry

CATALOG_PREFIX = "system.ai."
THROUGHPUT_CHUNK = 100
"""Tokens per second that count as one slot."""
MODEL_UNIT_CHUNK = 1

_MOST_SLOTS = 64
_CONTEXT = 2048
_TASKS = {task.value: task for task in ExternalTask}


@dataclass(frozen=True, slots=True)
class ThroughputModels:
    """Finds what engines can run. Calls the registry: not for use inside a transaction that writes."""

    registry: ModelRegistry
    added: Path

    def spec(self, entity: ServedEntityInput, where: str) -> EngineModelSpec:
        """The spec of an entity of kind PROVISIONED_THROUGHPUT; `where` is its place in the request.

        Raises:
            ResourceDoesNotExist: no such model.
            InvalidParameterValue: no engine runs it, or the throughput is not one that can be had.
            TemporarilyUnavailable: the registry does not answer.
        """
        assert entity.entity_name is not None
        assert entity.entity_version is not None
        slots = _slots(entity, where)
        shown = None
        if entity.entity_name.startswith(CATALOG_PREFIX):
            entry = self._entry(entity.entity_name)
            model = EngineModel.model_validate(entry.model_dump(include=set(EngineModel.model_fields)))
            shown = FoundationModelOutput(
                name=entry.entity_name,
                display_name=entry.display_name,
                description=entry.description,
                docs=entry.docs or "",
            )
        else:
            found = self._logged(entity.entity_name, entity.entity_version)
            if isinstance(found, str):
                raise InvalidParameterValue(f"Invalid value for '{where}.entity_name': {found}")
            model = found
        return EngineModelSpec(
            name=entity.served_name,
            entity_name=entity.entity_name,
            entity_version=entity.entity_version,
            model=model.model_copy(update={"slots": slots}),
            foundation_model=shown,
            scale_to_zero_enabled=entity.scale_to_zero_enabled or entity.min_provisioned_throughput == 0,
            burst_scaling_enabled=entity.burst_scaling_enabled,
            provisioned_model_units=entity.provisioned_model_units,
            min_provisioned_throughput=entity.min_provisioned_throughput,
            max_provisioned_throughput=entity.max_provisioned_throughput,
        )

    def info(self, name: str, version: str) -> ModelOptimizationInfo:
        """Whether a model can have provisioned throughput, and in which steps; raises as `spec`."""
        if name.startswith(CATALOG_PREFIX):
            found: EngineModel | str = self._entry(name)
        else:
            self.registry.model_version(name, version)
            found = self._logged(name, version)
        if isinstance(found, str):
            return ModelOptimizationInfo(optimizable=False, message=found)
        return ModelOptimizationInfo(
            optimizable=True,
            model_type=found.engine.value,
            throughput_chunk_size=THROUGHPUT_CHUNK,
            model_unit_chunk_size=MODEL_UNIT_CHUNK,
        )

    def _entry(self, entity_name: str) -> CatalogueEntry:
        try:
            entries = catalogue.read(self.added)
        except catalogue.CatalogueError as error:
            raise InternalError(f"The catalogue of models cannot be read: {error}") from error
        for entry in entries:
            if entry.entity_name == entity_name:
                return entry
        raise ResourceDoesNotExist(f"Model '{entity_name}' is not in the catalogue of this server.")

    def _logged(self, name: str, version: str) -> EngineModel | str:
        """How an engine runs a model that MLflow has logged, or why none does."""
        self.registry.model_version(name, version).require_ready()
        return engine_model(self.registry.files(name, version), f"models:/{name}/{version}")


def engine_model(files: ModelFiles, source: str) -> EngineModel | str:
    """How an engine runs a model with these files, or why none does."""
    flavors: Mapping[str, Any] = files.document.get("flavors") or {}
    metadata: Mapping[str, Any] = files.document.get("metadata") or {}
    transformers: Mapping[str, Any] = flavors.get("transformers") or {}
    named = metadata.get("task") or transformers.get("inference_task") or transformers.get("task")
    task = _TASKS.get(str(named))
    if any(path.endswith(".gguf") for path in files.paths):
        return EngineModel(
            engine=Engine.LLAMA_CPP, weights=source, task=task or ExternalTask.CHAT, context=_context(metadata)
        )
    if task is None:
        return (
            "only models with GGUF weights, or logged with a task such as 'llm/v1/chat' in the transformers flavor or"
            " in their metadata, can have provisioned throughput; serve it as a custom model with provisioned"
            " concurrency"
        )
    if transformers:
        return EngineModel(engine=Engine.VLLM, weights=source, task=task, context=_context(metadata))
    return "no engine runs models of this flavor: log it in the transformers flavor, or as GGUF weights"


def _context(metadata: Mapping[str, Any]) -> int:
    given = metadata.get("context_length")
    return given if isinstance(given, int) and 128 <= given <= 1 << 20 else _CONTEXT


def _slots(entity: ServedEntityInput, where: str) -> int:
    """
    Raises:
        InvalidParameterValue: not in the steps in which throughput comes, or more than an engine has.
    """
    units, most = entity.provisioned_model_units, entity.max_provisioned_throughput
    if units is not None and (most is not None or entity.min_provisioned_throughput is not None):
        raise InvalidParameterValue(
            f"Invalid value for '{where}': give either 'provisioned_model_units' or 'min_provisioned_throughput' and "
            "'max_provisioned_throughput'"
        )
    if units is not None:
        if not 1 <= units <= _MOST_SLOTS:
            raise InvalidParameterValue(
                f"Invalid value for '{where}.provisioned_model_units': must be 1 to {_MOST_SLOTS}"
            )
        return units
    if most is None:
        raise InvalidParameterValue(f"Missing required field '{where}.max_provisioned_throughput'")
    for field, value in (
        ("min_provisioned_throughput", entity.min_provisioned_throughput or 0),
        ("max_provisioned_throughput", most),
    ):
        if value % THROUGHPUT_CHUNK or value > _MOST_SLOTS * THROUGHPUT_CHUNK:
            raise InvalidParameterValue(
                f"Invalid value for '{where}.{field}': must be a multiple of {THROUGHPUT_CHUNK} and at most "
                f"{_MOST_SLOTS * THROUGHPUT_CHUNK}"
            )
    if most == 0:
        raise InvalidParameterValue(
            f"Invalid value for '{where}.max_provisioned_throughput': must be at least {THROUGHPUT_CHUNK}"
        )
    return most // THROUGHPUT_CHUNK
