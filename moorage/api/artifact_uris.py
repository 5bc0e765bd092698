"""Where MLflow's artifacts are, as its own server says it and as Databricks clients expect to read it.

One file has three names: `mlflow-artifacts:/7/RUN/artifacts/model.pkl` is MLflow's; its path in the artifact store is
what follows the scheme. Databricks clients take `dbfs:/databricks/mlflow-tracking/7/RUN/artifacts/model.pkl`, and
move it through the Files API as `/WorkspaceInternal/Mlflow/Artifacts/7/Runs/RUN/artifacts/model.pkl`. Logged models
and traces have a folder of their own in each. Source: MLflow, `store/artifact/databricks_*_artifact_repo.py`.
"""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

MLFLOW_SCHEME = "mlflow-artifacts:/"
DATABRICKS_ROOT = "dbfs:/databricks/mlflow-tracking/"
FILES_ROOT = "/WorkspaceInternal/Mlflow/Artifacts/"
VERSIONS_FOLDER = "registered-models"
"""The folder of the artifact store for the files of registered versions, each in its logged model's."""

_LOGGED_MODEL = re.compile(r"([^/]+)/models/(m-[^/]+)")
_TRACE = re.compile(r"([^/]+)/traces/(tr-[^/]+)")
_DATABRICKS_LOGGED_MODEL = re.compile(r"([^/]+)/logged_models/([^/]+)")
_DATABRICKS_TRACE = re.compile(r"([^/]+)/(tr-[^/]+)")
_FILE_OF_RUN = re.compile(r"([^/]+)/Runs/([^/]+)(.*)", re.DOTALL)
_FILE_OF_LOGGED_MODEL = re.compile(r"([^/]+)/LoggedModels/([^/]+)(.*)", re.DOTALL)


def artifact_path(uri: str) -> str | None:
    """The path in the artifact store of an `mlflow-artifacts:/` URI in either form; None of any other URI.

    It may have any parts: whoever opens it has them checked.
    """
    scheme, colon, rest = uri.partition(":")
    plain = mlflow_uri(f"{scheme.lower()}{colon}{rest}")
    if not plain.startswith(MLFLOW_SCHEME):
        return None
    rest = plain.removeprefix(MLFLOW_SCHEME)
    if rest.startswith("/"):  # mlflow-artifacts://HOST/PATH
        rest = rest[1:].partition("/")[2]
    return rest.strip("/")


def databricks_uri(uri: str) -> str:
    """What a Databricks client is told for an `mlflow-artifacts:/` URI; any other as it is."""
    if not uri.startswith(MLFLOW_SCHEME) or uri.startswith(f"{MLFLOW_SCHEME}/"):
        return uri
    path = uri.removeprefix(MLFLOW_SCHEME)
    if match := _LOGGED_MODEL.match(path):
        path = f"{match[1]}/logged_models/{match[2]}{path[match.end() :]}"
    elif match := _TRACE.match(path):
        path = f"{match[1]}/{match[2]}{path[match.end() :]}"
    return f"{DATABRICKS_ROOT}{path}"


def mlflow_uri(uri: str) -> str:
    """The opposite of `databricks_uri`."""
    if not uri.startswith(DATABRICKS_ROOT):
        return uri
    path = uri.removeprefix(DATABRICKS_ROOT)
    if match := _DATABRICKS_LOGGED_MODEL.match(path):
        path = f"{match[1]}/models/{match[2]}{path[match.end() :]}"
    elif match := _DATABRICKS_TRACE.match(path):
        path = f"{match[1]}/traces/{match[2]}{path[match.end() :]}"
    return f"{MLFLOW_SCHEME}{path}"


def is_of_registered_versions(path: str) -> bool:
    """Whether a path in the artifact store, however often encoded, leads to files of registered versions."""
    return plain_path(path).partition("/")[0] == VERSIONS_FOLDER


def plain_path(path: str) -> str:
    """A path in the artifact store as MLflow reads it, which decodes until nothing changes."""
    while (plain := unquote(path)) != path:
        path = plain
    return posixpath.normpath(f"/{path}").lstrip("/")


def path_of_file(file: str) -> str | None:
    """The path in the artifact store of a Files API path below `FILES_ROOT`; None of any other."""
    if not file.startswith(FILES_ROOT):
        return None
    path = file.removeprefix(FILES_ROOT)
    if match := _FILE_OF_RUN.fullmatch(path):
        return f"{match[1]}/{match[2]}{match[3]}"
    if match := _FILE_OF_LOGGED_MODEL.fullmatch(path):
        return f"{match[1]}/models/{match[2]}{match[3]}"
    return None
