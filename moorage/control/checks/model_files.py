"""What the files of an MLflow model say of it. Synchronous: call these in a thread."""

from __future__ import annotations

from pathlib import Path

from moorage.control.model_signature import ColumnSchema, Fields, Signature

_SERVING_EXAMPLE = "serving_input_example.json"


def size(model: Path) -> tuple[int, int]:
    """Bytes, and number of files."""
    sizes = [path.stat().st_size for path in model.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def serving_example(model: Path) -> bytes | None:
    """The request that MLflow made of the logged input example."""
    try:
        return (model / _SERVING_EXAMPLE).read_bytes()
    except FileNotFoundError:
        return None


def in_a_sentence(signature: Signature) -> str:
    """How much a signature describes."""
    parts = [f"takes {_counted(signature.inputs)}"]
    if signature.params:
        parts.append(_number(len(signature.params), "param"))
    sentence = " and ".join(parts)
    if signature.outputs is not None:
        sentence += f", gives {_counted(signature.outputs)}"
    return f"The model {sentence}."


def _counted(fields: Fields) -> str:
    if isinstance(fields, ColumnSchema):
        return _number(len(fields.columns), "column")
    return _number(len(fields.tensors), "tensor")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
