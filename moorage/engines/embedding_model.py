"""An embedding model on the ONNX runtime: token ids in, unit vectors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from moorage.engines.process import EngineError

Vectors = np.ndarray[Any, np.dtype[np.float32]]
"""One vector a row."""
Tokens = list[int]
"""The token ids of one text, with those that mark its beginning and end."""

_MOST_TEXTS = 16
_MOST_TOKENS = 512  # of one run, those that fill up included; more is not faster and takes far more memory
_MOST_CHARACTERS_A_TOKEN = 200
_POOLED = "sentence_embedding"


class Pooling(StrEnum):
    """How a text's vector is made of its tokens'."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"


class EmbeddingModel:
    """For one thread to embed, and any number to tokenize."""

    def __init__(
        self, weights: Path, tokenizer: Path, *, context: int, threads: int, pooling: Pooling = Pooling.MEAN
    ) -> None:
        """
        Raises:
            EngineError: a file cannot be read, or is none of a model of this kind.
        """
        for path in (weights, tokenizer):
            if not path.is_file():
                raise EngineError(f"there is no file {path}")
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:
            raise EngineError(f"{tokenizer.name} is no tokenizer: {error}") from error
        padding = self._tokenizer.padding or {}
        self._padding_id = int(padding.get("pad_id", 0))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._session = _session(weights, threads)
        self._inputs = {one.name for one in self._session.get_inputs()}
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self._inputs:
            raise EngineError(f"{weights.name} is no embedding model of texts: it takes {sorted(self._inputs)}")
        outputs = self._session.get_outputs()
        self._output = next((one for one in outputs if one.name == _POOLED), outputs[0]).name
        self._pool = _POOLINGS[pooling]
        self.context = context
        self.dimensions = self.embed([self._tokenizer.encode("a").ids]).shape[1]

    def too_long(self, text: str) -> bool:
        """Whether a text need not be tokenized to see that it is longer than the context."""
        return len(text) > self.context * _MOST_CHARACTERS_A_TOKEN

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The token ids of each text, however long."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def embed(self, rows: Sequence[Tokens]) -> Vectors:
        """One unit vector a row. Rows of about the same length go through together."""
        vectors: list[Vectors] = [np.empty((0,), np.float32)] * len(rows)
        batch: list[int] = []
        for index in sorted(range(len(rows)), key=lambda index: len(rows[index])):
            width = len(rows[index])
            if batch and (len(batch) == _MOST_TEXTS or (len(batch) + 1) * width > _MOST_TOKENS):
                self._embed_batch(rows, batch, vectors)
                batch = []
            batch.append(index)
        self._embed_batch(rows, batch, vectors)
        return np.stack(vectors)

    def _embed_batch(self, rows: Sequence[Tokens], batch: Sequence[int], vectors: list[Vectors]) -> None:
        width = max(len(rows[index]) for index in batch)
        tokens = np.full((len(batch), width), self._padding_id, np.int64)
        present = np.zeros((len(batch), width), np.int64)
        for row, index in enumerate(batch):
            tokens[row, : len(rows[index])] = rows[index]
            present[row, : len(rows[index])] = 1
        inputs = {"input_ids": tokens, "attention_mask": present, "token_type_ids": np.zeros_like(tokens)}
        (states,) = self._session.run([self._output], {name: inputs[name] for name in self._inputs})
        pooled = (states if states.ndim == 2 else self._pool(states, present)).astype(np.float32)
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        for index, vector in zip(batch, pooled / np.maximum(norms, np.finfo(np.float32).tiny), strict=True):
            vectors[index] = vector


def _session(weights: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # what a long text took is given back
    # Between two requests threads would spin, and take the processor from other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"{weights.name} cannot be loaded: {error}") from error


def _mean(states: Vectors, present: np.ndarray[Any, Any]) -> Vectors:
    means: Vectors = (states * present[..., None]).sum(axis=1) / present.sum(axis=1, keepdims=True)
    return means


def _first(states: Vectors, _present: np.ndarray[Any, Any]) -> Vectors:
    return states[:, 0]


def _last(states: Vectors, present: np.ndarray[Any, Any]) -> Vectors:
    states_of_last: Vectors = states[np.arange(len(states)), present.sum(axis=1) - 1]
    return states_of_last


_POOLINGS: dict[Pooling, Callable[[Vectors, np.ndarray[Any, Any]], Vectors]] = {
    Pooling.MEAN: _mean,
    Pooling.CLS: _first,
    Pooling.LAST: _last,
}
