"""What a replica writes down about itself, taken as the word of somebody who is not trusted."""

from __future__ import annotations

import math
import re
from typing import Any

from moorage.compute.base import Observation, ReplicaPhase

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_LONGEST_NAME = 200
_MOST_MODULES = 5000
_LONGEST_MESSAGE = 4000
_FAST_PATHS = ("array", "frame", "tensor")


def observation(document: dict[str, Any]) -> Observation:
    """From `status.json`. What is not as a replica writes it counts as not said."""
    phase = _phase(document.get("phase"))
    load, warm_up = _seconds(document.get("load_seconds")), _seconds(document.get("warm_up_seconds"))
    if phase is ReplicaPhase.READY:
        load, warm_up = load or 0.0, warm_up or 0.0
    batching, path = document.get("batching"), document.get("fast_path")
    return Observation(
        phase=phase,
        message=text(document.get("message")),
        load_seconds=load,
        warm_up_seconds=warm_up,
        batching=batching if isinstance(batching, bool) else None,
        fast_path=path if path in _FAST_PATHS else None,
        imports=modules(document.get("imports")),
    )


def text(value: object) -> str:
    """`value` where it is text, without what is too long."""
    return value[:_LONGEST_MESSAGE] if isinstance(value, str) else ""


def modules(value: object) -> tuple[str, ...]:
    """The names of Python modules in `value`, where it is a list."""
    if not isinstance(value, list):
        return ()
    names = (name for name in value if isinstance(name, str) and len(name) <= _LONGEST_NAME)
    return tuple(name for name in names if _MODULE.fullmatch(name))[:_MOST_MODULES]


def _phase(value: object) -> ReplicaPhase:
    try:
        return ReplicaPhase(text(value))
    except ValueError:
        return ReplicaPhase.STARTING


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value < 1e9 else None
