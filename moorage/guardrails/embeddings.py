"""What texts mean, as vectors: MiniLM on the ONNX runtime, from files that lie on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from moorage.guardrails.installed import ModelFiles

Vectors = np.ndarray[Any, np.dtype[np.float32]]
"""One unit vector a row: the product of two is their similarity, -1 to 1."""

_BATCH = 16
_MOST_TOKENS = 256


class Embedder:
    """Turns texts into vectors; of a text its first 256 tokens count. For any number of threads."""

    def __init__(self, files: ModelFiles) -> None:
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # What a long text took is given back.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(str(files.model), options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text."""
        encodings = self._tokenizer.encode_batch(list(texts))
        by_length = sorted(range(len(texts)), key=lambda index: len(encodings[index].ids))
        vectors: Vectors = np.zeros((len(texts), self._session.get_outputs()[0].shape[-1]), np.float32)
        for at in range(0, len(texts), _BATCH):
            batch = by_length[at : at + _BATCH]
            vectors[batch] = self._embed([encodings[index].ids for index in batch])
        return vectors

    def _embed(self, rows: list[list[int]]) -> Vectors:
        width = max(map(len, rows))
        tokens, present = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = row
            present[index, : len(row)] = 1
        inputs = {"input_ids": tokens, "attention_mask": present, "token_type_ids": np.zeros_like(tokens)}
        (states,) = self._session.run(None, inputs)
        sums = (states * present[..., None]).sum(axis=1)
        vectors: Vectors = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
        return vectors
