"""`python -m moorage.engines CONFIG.json`: one engine, one replica (see `engines.config`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from moorage.engines.config import LLAMA_CPP, ONNX, VLLM, EngineConfig
from moorage.engines.process import Engine, EngineError, Process, exit_with


def make_engine(config: EngineConfig) -> Engine:
    """The engine that the configuration asks for; the others are not imported.

    Raises:
        EngineError: there is no such engine, or a library of it is not installed.
    """
    try:
        return _make(config)
    except ModuleNotFoundError as error:
        raise EngineError(
            f"the engine {config.engine} needs {error.name}, which is not installed (pip install 'moorage[llm]')"
        ) from error


def _make(config: EngineConfig) -> Engine:
    if config.engine == LLAMA_CPP:
        from moorage.engines.llama import LlamaEngine

        return LlamaEngine(config)
    if config.engine == ONNX:
        from moorage.engines.onnx import OnnxEngine

        return OnnxEngine(config)
    if config.engine == VLLM:
        from moorage.engines.vllm import VllmEngine

        return VllmEngine(config)
    raise EngineError(f"there is no engine {config.engine!r}; there are {LLAMA_CPP}, {ONNX} and {VLLM}")


def main(words: Sequence[str]) -> int:
    """Be the engine; returns the exit status."""
    if len(words) != 1:
        print("usage: python -m moorage.engines CONFIG.json", file=sys.stderr)
        return 2
    return Process(Path(words[0]), make_engine).run()


if __name__ == "__main__":
    exit_with(main(sys.argv[1:]))
