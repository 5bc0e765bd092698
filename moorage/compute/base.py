"""What a place that runs replicas can do. Local processes implement it; a cluster can."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class ComputeError(Exception):
    """A replica could not be started; the message says why."""


class ReplicaPhase(StrEnum):
    """How far a replica has come, as it says itself, or `GONE` when its process is no more."""

    STARTING = "starting"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A model's environment as compute needs it: a key that names it, and its Python.

    `uid` is the user that runs it, None the server's own.
    """

    key: str
    python: Path
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class EngineStart:
    """How an engine is started: `context` is tokens of one request, `slots` requests at a time; the other fields are
    those of `api.engines.EngineModel`."""

    engine: str
    task: str
    tokenizer: Path | None
    context: int
    slots: int
    pooling: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """What to run. `variables` are those the user set on the served entity, secrets resolved.

    With an `engine` it is that, and `model_path` the path of its weights.
    """

    replica_id: str
    deployment_id: str
    endpoint: str
    served_name: str
    model_path: Path
    loader_module: str
    variables: dict[str, str] = field(repr=False)
    engine: EngineStart | None = None


@dataclass(frozen=True, slots=True)
class ReplicaProcess:
    """A running replica. `pid` with `started_at` (kernel start ticks) never names another process."""

    replica_id: str
    address: str
    pid: int
    started_at: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What a replica says of itself, or how it ended. Durations are seconds.

    `fast_path` names how requests are batched: `array`, `frame` or `tensor`; None for MLflow's own path.
    """

    phase: ReplicaPhase
    message: str = ""
    load_seconds: float | None = None
    warm_up_seconds: float | None = None
    batching: bool | None = None
    fast_path: str | None = None
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a replica and of what it started: `resident` with the pages that it shares, `own` without."""

    resident: int
    own: int


class Compute(Protocol):
    """Starts, watches and stops replicas. Every call may be repeated after a crash of the caller."""

    async def start_replica(self, spec: ReplicaSpec, interpreter: Interpreter) -> ReplicaProcess:
        """Start a replica; it loads its model from here on. Raises `ComputeError`."""

    def observe(self, replica: ReplicaProcess) -> Observation:
        """What is known of it now."""

    async def ended(self, replica: ReplicaProcess) -> None:
        """Return when its process has ended, at once when it has."""

    async def adopt(self, replica: ReplicaProcess) -> bool:
        """Whether it is alive and answers to its name: one that an earlier control plane started."""

    async def stop_replica(self, replica: ReplicaProcess, drain_seconds: float) -> None:
        """Let it finish what it has, then end it and whatever it started."""

    async def stop_strangers(self, known: frozenset[str]) -> list[str]:
        """End the replicas that run here and whose ids are not known. Returns their ids."""

    async def release(self, in_use: frozenset[tuple[str, int | None]]) -> None:
        """Let go of what is kept warm for all but these environments, each with the user that runs it."""

    async def remember_imports(self, interpreter: Interpreter, modules: tuple[str, ...]) -> None:
        """Have these libraries ready for the next replica of that environment. Raises `ComputeError`."""

    async def memory(self, replica: ReplicaProcess) -> Memory | None:
        """What it takes now; None when it has ended."""

    def log_tail(self, deployment_id: str, replica_id: str, size: int) -> str:
        """The last `size` bytes of its log, whole lines."""
