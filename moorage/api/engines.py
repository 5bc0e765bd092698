"""Models that engines of this machine run: what a catalogue says of them, and what answers show.

Source: Databricks documentation, Foundation Model APIs (`databricks-...` endpoints, `system.ai` models). The
catalogue is Moorage's own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from moorage.api.external_models import ExternalTask
from moorage.api.wire import Count, Name, ShortText, Text, WireInput, WireOutput


class Engine(StrEnum):
    """What runs a model. `llama.cpp` takes GGUF files, `onnx` embedding models for the ONNX runtime."""

    LLAMA_CPP = "llama.cpp"
    ONNX = "onnx"
    VLLM = "vllm"


class EngineModel(WireInput):
    """A model as an engine is started with it.

    `weights` say where its files are: `package:DISTRIBUTION` (files of an installed package), an absolute path,
    `hf:ORGANISATION/REPOSITORY[/FILE]` of Hugging Face's hub, or `models:/NAME/VERSION` of the registry; `tokenizer`
    is the same for engines that need it apart. `context` is what one request may have in tokens, and `slots` how many
    requests are worked on at the same time. `pooling` is how an embedding is made of its tokens' (`mean`, `cls` or
    `last`).
    """

    engine: Engine
    weights: ShortText
    task: ExternalTask
    tokenizer: ShortText | None = None
    context: Annotated[Count, Field(ge=128, le=1 << 20)] = 2048
    slots: Annotated[Count, Field(ge=1, le=256)] = 4
    pooling: ShortText | None = None
    chat_template: Text | None = None


class CatalogueEntry(EngineModel):
    """A model that is ready to be queried at an endpoint of its own.

    `name` is that of the endpoint, such as `databricks-smollm2-135m-instruct`, `entity_name` that of the model in the
    catalog, such as `system.ai.smollm2_135m_instruct`.
    """

    name: Name
    entity_name: ShortText
    display_name: ShortText
    description: Text = ""
    licence: ShortText | None = None
    docs: ShortText | None = None


class FoundationModelOutput(WireOutput):
    """A model of the catalogue in answers (databricks-sdk `FoundationModel`)."""

    name: str
    display_name: str
    description: str = ""
    docs: str = ""
