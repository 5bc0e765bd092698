"""How big a served entity is, and on what kind of machine it runs.

Source: Databricks REST reference, serving endpoints, create (`workload_size`, `workload_type`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CONCURRENCY_PER_REPLICA = 4
MOST_CONCURRENCY = 4096
"""Of a workspace: what the served entities of all its endpoints may grow to together."""
DEFAULT_REPLICA_MEMORY_BYTES = 4 * 1024**3
"""What a replica has room for unless its served entity says otherwise; memory usage is shown as a share of it."""


class WorkloadSize(StrEnum):
    SMALL = "Small"
    MEDIUM = "Medium"
    LARGE = "Large"


class WorkloadType(StrEnum):
    CPU = "CPU"
    CPU_MEDIUM = "CPU_MEDIUM"
    CPU_LARGE = "CPU_LARGE"
    GPU_SMALL = "GPU_SMALL"
    GPU_MEDIUM = "GPU_MEDIUM"
    GPU_LARGE = "GPU_LARGE"
    GPU_XLARGE = "GPU_XLARGE"
    GPU_XLARGE_8 = "GPU_XLARGE_8"
    MULTIGPU_MEDIUM = "MULTIGPU_MEDIUM"

    @property
    def needs_gpu(self) -> bool:
        return "GPU" in self.value


@dataclass(frozen=True, slots=True)
class ConcurrencyRange:
    """Parallel requests that a served entity has room for, in units of provisioned concurrency."""

    minimum: int
    maximum: int


def replicas_for(concurrency: int) -> int:
    """Replicas that give room for so many parallel requests."""
    return -(-concurrency // CONCURRENCY_PER_REPLICA)


SIZES = {
    WorkloadSize.SMALL: ConcurrencyRange(4, 4),
    WorkloadSize.MEDIUM: ConcurrencyRange(8, 16),
    WorkloadSize.LARGE: ConcurrencyRange(16, 64),
}
