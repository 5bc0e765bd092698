"""Embeddings: unit vectors that depend on the text alone."""

from __future__ import annotations

import base64
import hashlib
import math
import struct


def vector(text: str, size: int) -> list[float]:
    """A unit vector of numbers that a 32-bit float holds exactly, so that base64 and JSON say the same."""
    raw = b"".join(hashlib.sha256(f"{at} {text}".encode()).digest() for at in range((size + 7) // 8))
    numbers = [value / 2**31 for value in struct.unpack(f"<{len(raw) // 4}i", raw)[:size]]
    length = math.sqrt(sum(value * value for value in numbers))
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(value / length for value in numbers))))


def packed(values: list[float]) -> str:
    """The numbers as little-endian 32-bit floats in base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
