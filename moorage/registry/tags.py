"""Tags by which Moorage remembers more about a registered model or a version than MLflow's registry has fields for.

They are for this server alone: its APIs neither show them nor let anybody set them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.unity_catalog import HIDDEN_TAGS, PROMPT_TAG

REGISTRATION = "moorage.registration"
PENDING = "PENDING"
"""The value of `REGISTRATION` while a version waits for its files; afterwards it has no such tag."""
SOURCE = "moorage.source"
"""What the client said the version was made from: MLflow's own `source` is where its files are."""
MODEL_ID = "moorage.model_id"
"""The client's logged model: to MLflow it is the one that has the files."""
USER = "moorage.user"
"""The name of who made the model or the version."""
RUN_EXPERIMENT = "moorage.run_experiment_id"
RUN_WORKSPACE = "moorage.run_workspace_id"


def tags_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The tags of an object of MLflow's REST API, the hidden ones included."""
    return {str(tag["key"]): str(tag.get("value") or "") for tag in document.get("tags") or ()}


def visible(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that people gave."""
    return {key: value for key, value in tags.items() if not key.startswith(HIDDEN_TAGS)}


def is_pending(tags: Mapping[str, str]) -> bool:
    """Whether a version with these tags waits for its files."""
    return tags.get(REGISTRATION) == PENDING


def is_prompt(tags: Mapping[str, str]) -> bool:
    """Whether a registered model or a version with these tags is a prompt."""
    return tags.get(PROMPT_TAG, "").lower() == "true"
