"""What a test sets: how answers look, what goes wrong with the next ones, and which credentials are right."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .faults import Fault, read_fault

KEYS: dict[str, str] = {
    "openai": "sk-fake-openai",
    "azure": "fake-azure-key",
    "entra_tenant": "fake-tenant",
    "entra_client_id": "fake-client-id",
    "entra_client_secret": "fake-client-secret",
    "entra_token": "fake-entra-token",
    "databricks": "dapi-fake-databricks",
    "anthropic": "sk-ant-fake",
    "gemini": "AIza-fake-gemini",
    "google_token": "ya29.fake-google-token",
    "google_public_key": "",
    "bedrock_access_key_id": "AKIAFAKEFAKEFAKEFAKE",
    "bedrock_secret_access_key": "fake/secret+access/key",
    "bedrock_region": "us-east-1",
    "cohere": "fake-cohere-key",
    "ai21": "fake-ai21-key",
    "custom": "fake-custom-key",
}
"""The credentials that are right at first.

With a `google_public_key` (PEM) the signatures of Google's JWTs are checked too.
"""


class BadControl(Exception):
    """The control message is not one; the text says what is wrong with it."""


@dataclass(slots=True)
class Script:
    """How answers look. Times are in seconds; `text` takes the place of the echo; `token_seconds` is how long the
    access tokens of Entra and Google say that they live; `cached_tokens` are part of every count of input tokens."""

    chunks: int = 5
    text: str = ""
    tool_preamble: str = ""
    embedding_size: int = 8
    cached_tokens: int = 0
    token_seconds: int = 3599
    first_byte_delay: float = 0.0
    chunk_delay: float = 0.0
    instant: bool = False
    keys: dict[str, str] = field(default_factory=lambda: dict(KEYS))
    faults: deque[Fault | None] = field(default_factory=deque)

    def next_fault(self, dialect: str, model: str) -> Fault | None:
        """The first fault in line that is meant for such a request; it is used up unless it is to come again.

        None in line stands for a request that is answered well.
        """
        for at, fault in enumerate(self.faults):
            if fault is not None and not fault.meant_for(dialect, model):
                continue
            if fault is None or fault.times == 1:
                del self.faults[at]
            elif fault.times:
                self.faults[at] = fault.once_less()
            return fault
        return None


_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("first_byte_delay", "chunk_delay"), (int, float)),
    **dict.fromkeys(("chunks", "embedding_size", "cached_tokens", "token_seconds"), int),
    **dict.fromkeys(("text", "tool_preamble"), str),
    "instant": bool,
}


def controlled(script: Script, message: Any) -> Script:
    """The script after a control message: a JSON object of what is to change.

    `reset` starts from the beginning, `keys` changes those that it names, `next` adds to the faults in line.

    Raises:
        BadControl: a field is unknown or not what it should be.
    """
    if not isinstance(message, dict):
        raise BadControl("a control message is a JSON object")
    changed = Script() if message.get("reset") else script
    for name, value in message.items():
        if name == "reset":
            continue
        if name == "next":
            _add_faults(changed, value)
        elif name == "keys":
            if not isinstance(value, dict) or not set(value) <= set(KEYS):
                raise BadControl(f"'keys' is an object with some of {sorted(KEYS)}")
            changed.keys.update(value)
        elif name in _TYPES and isinstance(value, _TYPES[name]):
            setattr(changed, name, value)
        else:
            raise BadControl(f"'{name}' cannot be {value!r}")
    return changed


def _add_faults(script: Script, faults: Any) -> None:
    if not isinstance(faults, list):
        raise BadControl("'next' is a list of faults, with null for an answer without one")
    try:
        script.faults.extend(None if fault is None else read_fault(fault) for fault in faults)
    except (TypeError, ValueError) as error:
        raise BadControl(str(error)) from error
