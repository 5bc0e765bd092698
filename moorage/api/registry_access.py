"""Between a gateway and the control plane: may this request pass to MLflow's model registry, and its answer back."""

from __future__ import annotations

import posixpath
import re

from pydantic import BaseModel, ConfigDict

from moorage.api.routing import Principal

_ARTIFACTS = re.compile(r"(?:/mlflow)?/(?:ajax-)?api/\d+\.\d+/mlflow-artifacts/")
_REGISTRY = re.compile(r".*/((?:registered-models|model-versions|webhooks|graphql)(?:/.*)?)", re.DOTALL)

CREATE_MODEL = ("POST", "registered-models/create")
RENAME_MODEL = ("POST", "registered-models/rename")
DELETE_MODEL = ("DELETE", "registered-models/delete")
TRANSITION = ("POST", "model-versions/transition-stage")
RECORDED = frozenset({CREATE_MODEL, RENAME_MODEL, DELETE_MODEL})
"""What changes whose model it is: the control plane takes note, whoever asks for it."""

REGISTERED_FILES = "registered-files"
"""Not a route: files are read that may be a registered version's. The `query` says which, as a path in the artifact
store or, behind `LOGGED_MODELS`, the id of a logged model."""
LOGGED_MODELS = "logged-models/"

LONGEST_REQUEST = 1 << 20
LONGEST_ANSWER = 16 << 20
TICKET_HEADER = "x-moorage-registry-ticket"


def registry_operation(path: str) -> str | None:
    """`registered-models/create` of such a path of MLflow's, at any prefix; None when it is not the registry's.

    Slashes and dots count as any server behind may read them.
    """
    plain = posixpath.normpath(re.sub("/+", "/", path))
    if _ARTIFACTS.match(plain):
        return None
    match = _REGISTRY.fullmatch(plain)
    return match[1] if match is not None else None


class _Wire(BaseModel):
    """Bytes are base64 in its JSON."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")


class RegistryRequest(_Wire):
    """A request as the caller sent it. `operation` is as `registry_operation` says, `query` the raw query string."""

    principal: Principal
    method: str
    operation: str
    query: str = ""
    body: bytes = b""


class RegistryDecision(_Wire):
    """It may pass, with another `body` where there is one. With a `ticket` an answer of status 200 is to be shown to
    the control plane before it goes on, and what comes back is what goes on."""

    ticket: str | None = None
    body: bytes | None = None
