"""What an engine is started with: the document that compute writes, and only the one engine reads.

It imports little: an engine that was at zero is waited for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LLAMA_CPP = "llama.cpp"
ONNX = "onnx"
VLLM = "vllm"
EMBEDDINGS = "llm/v1/embeddings"
"""The names of `api.engines.Engine`, and of the one task that engines are started for in another way."""


@dataclass(frozen=True, slots=True)
class Supervisor:
    """The server that an engine belongs to: `started_at` counts kernel ticks since boot."""

    pid: int
    started_at: int


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One replica of one model.

    `folder` is the replica's own, `socket` the path where requests come to. `weights` is a file, or a folder in the
    form of Hugging Face's; `tokenizer` a `tokenizer.json`. `context` is in tokens of one request, `slots` in requests
    at a time, `orphan_seconds` how long the engine outlives its server.
    """

    replica_id: str
    endpoint: str
    served_name: str
    folder: Path
    socket: Path
    log: Path
    log_bytes: int
    engine: str
    weights: Path
    tokenizer: Path | None
    task: str
    context: int
    slots: int
    threads: int
    pooling: str | None
    chat_template: str | None
    supervisor: Supervisor
    orphan_seconds: float


def read_config(path: Path) -> EngineConfig:
    """
    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON.
        KeyError: a field is missing.
    """
    document: dict[str, Any] = json.loads(path.read_bytes())
    tokenizer = document.get("tokenizer")
    return EngineConfig(
        replica_id=document["replica_id"],
        endpoint=document["endpoint"],
        served_name=document["served_name"],
        folder=Path(document["folder"]),
        socket=Path(document["socket"]),
        log=Path(document["log"]),
        log_bytes=document["log_bytes"],
        engine=document["engine"],
        weights=Path(document["weights"]),
        tokenizer=Path(tokenizer) if tokenizer else None,
        task=document["task"],
        context=document["context"],
        slots=document["slots"],
        threads=document["threads"],
        pooling=document.get("pooling"),
        chat_template=document.get("chat_template"),
        supervisor=Supervisor(document["supervisor_pid"], document["supervisor_started_at"]),
        orphan_seconds=document["orphan_seconds"],
    )
