"""MLflow's own client of Unity Catalog's registry and databricks-sdk, asking a control plane without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
import requests
from control_harness import ControlPlane
from databricks.sdk import WorkspaceClient
from mlflow.store._unity_catalog.registry.rest_store import UcModelRegistryStore
from mlflow.store._unity_catalog.registry.uc_native_rest_store import UcNativeModelRegistryStore
from mlflow.utils.rest_utils import MlflowHostCreds
from requests.adapters import BaseAdapter

from moorage.api.routing import Principal

_HOST = "https://moorage.example.com"


def _answer(response: Any, request: requests.PreparedRequest) -> requests.Response:
    answer = requests.Response()
    answer.status_code = response.status_code
    answer._content = response.content
    answer.headers.update(response.headers)
    answer.request = request
    answer.url = str(request.url)
    return answer


class _Adapter(BaseAdapter):
    def __init__(self, plane: ControlPlane, caller: Principal) -> None:
        super().__init__()
        self._plane, self._caller = plane, caller

    def send(self, request: requests.PreparedRequest, *_args: Any, **_more: Any) -> requests.Response:
        url = urlsplit(str(request.url))
        path = f"{url.path}?{url.query}" if url.query else url.path
        body = request.body.encode() if isinstance(request.body, str) else request.body
        return _answer(self._plane.request(str(request.method), path, self._caller, content=body), request)

    def close(self) -> None:
        """There is nothing to close."""


def workspace_client(plane: ControlPlane, caller: Principal) -> WorkspaceClient:
    """databricks-sdk as that caller."""
    with patch("databricks.sdk.config.get_host_metadata", side_effect=ValueError("no network")):
        client = WorkspaceClient(host=_HOST, token="dapi0", auth_type="pat")
    client.api_client._api_client._session.mount(_HOST, _Adapter(plane, caller))
    return client


class _Repository:
    """Stands for the upload through the Files API, which has tests of its own."""

    def __init__(self) -> None:
        self.uploaded: list[str] = []

    def log_artifacts(self, local_dir: str, artifact_path: str) -> None:
        assert artifact_path == ""
        self.uploaded.append(local_dir)


def registry_store(
    monkeypatch: pytest.MonkeyPatch, plane: ControlPlane, caller: Principal, *, native: bool = False
) -> tuple[UcModelRegistryStore, list[str]]:
    """What MLflow's client has for the registry URI `databricks-uc`, and the folders that it has uploaded."""
    session = requests.Session()
    session.mount(_HOST, _Adapter(plane, caller))

    def http_request(
        host_creds: MlflowHostCreds,
        endpoint: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> requests.Response:
        return session.request(method, f"{host_creds.host}{endpoint}", params=params, json=body.get("json"))

    monkeypatch.setattr("mlflow.utils.rest_utils.http_request", http_request)
    kind = UcNativeModelRegistryStore if native else UcModelRegistryStore
    store = kind("databricks-uc", "sqlite://")
    store.get_host_creds = lambda: MlflowHostCreds(_HOST)
    repository = _Repository()

    def artifact_repository(*_args: Any, **_more: Any) -> _Repository:
        flag = plane.request(
            "GET",
            "/api/2.0/mlflow/unity-catalog/registered-models:is-databricks-sdk-models-artifact-repository-enabled",
            caller,
        )
        assert json.loads(flag.content) == {"is_databricks_sdk_models_artifact_repository_enabled": True}
        return repository

    store._get_artifact_repo = artifact_repository
    return store, repository.uploaded
