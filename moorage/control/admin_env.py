"""`admin.env`: how the administrator of a data directory connects, as lines that a shell can read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

TOKEN_VARIABLE = "DATABRICKS_TOKEN"


def connection_variables(base_url: str, token: str) -> dict[str, str]:
    """What the Databricks clients and MLflow read to reach the server at `base_url`."""
    return {
        "DATABRICKS_HOST": base_url,
        "DATABRICKS_TOKEN": token,
        "MLFLOW_TRACKING_URI": base_url,
        "MLFLOW_TRACKING_TOKEN": token,
    }


def write_admin_env(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the file as a whole, with mode 0600."""
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def read_admin_env(path: Path) -> dict[str, str]:
    """The variables in the file; lines that are no assignment are left out.

    Raises:
        OSError: the file is missing or closed to this user.
    """
    variables = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, equals, value = line.partition("=")
        if not equals or not name.isidentifier():
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        variables[name] = words[0] if words else ""
    return variables
