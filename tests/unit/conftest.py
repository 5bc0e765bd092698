"""What one test sets for its whole process does not follow into the next."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from mlflow.tracking._model_registry import utils as registry
from mlflow.tracking._tracking_service import utils as tracking

_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


@pytest.fixture(autouse=True)
def mlflows_uris_stay_in_the_test() -> Iterator[None]:
    """`set_tracking_uri` and `set_registry_uri` stand above the environment, and the first of them writes to it."""
    uris = tracking._tracking_uri, registry._registry_uri
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    yield
    tracking._tracking_uri, registry._registry_uri = uris
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
