"""This server's own credential at an external MLflow server, in the variables that MLflow's client reads."""

from __future__ import annotations

import base64
from collections.abc import Mapping

_TOKEN = "MLFLOW_TRACKING_TOKEN"
_NAME = "MLFLOW_TRACKING_USERNAME"
_PASSWORD = "MLFLOW_TRACKING_PASSWORD"


def authorization(environ: Mapping[str, str]) -> dict[str, str]:
    """The headers that carry it, none when there is no credential. A password goes before a token, as in MLflow."""
    name, password, token = (environ.get(variable) for variable in (_NAME, _PASSWORD, _TOKEN))
    if name and password:
        return {"authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}
    return {"authorization": f"Bearer {token}"} if token else {}
