"""The unmodified Databricks SDK on query schemas, and on what this server understands and does not do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.service.serving import (
    ExternalFunctionRequestHttpMethod,
    PtEndpointCoreConfig,
    PtServedModel,
)
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from server import OTHER_TOKEN, Server

OPTIMIZATION = "/api/2.0/serving-endpoints/get-model-optimization-info"
PT_CONFIG = PtEndpointCoreConfig(served_entities=[PtServedModel("main.llm.llama", 50, entity_version="1")])


def document(workspace: WorkspaceClient, name: str) -> dict[str, Any]:
    contents = workspace.serving_endpoints.get_open_api(name).contents
    assert contents is not None
    found: dict[str, Any] = json.loads(contents.read())
    return found


def test_get_open_api_reads_the_document(server: Server, workspace: WorkspaceClient, iris_endpoint: str) -> None:
    found = document(workspace, iris_endpoint)
    validate(found, cls=OpenAPIV31SpecValidator)
    assert found["info"] == {"title": iris_endpoint, "version": "1"}
    assert found["servers"] == [{"url": f"{server.url}/serving-endpoints/{iris_endpoint}"}]
    assert list(found["paths"]) == ["/served-models/iris-1/invocations"]


def test_a_model_without_signature_is_a_bad_request(server: Server, workspace: WorkspaceClient, registered) -> None:
    name = "sdk-no-signature"
    server.create(name, registered("no_signature").name)
    with pytest.raises(sdk_errors.BadRequest, match="not ready"):
        document(workspace, name)
    server.ready(name)
    with pytest.raises(sdk_errors.BadRequest, match="'no_signature-1' has no signature"):
        document(workspace, name)
    server.delete(name)


def test_who_may_not_see_the_endpoint_reads_no_document(server: Server, iris_endpoint: str) -> None:
    other = WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")
    with pytest.raises(sdk_errors.PermissionDenied):
        document(other, iris_endpoint)


def test_an_unknown_endpoint_is_not_found(workspace: WorkspaceClient) -> None:
    with pytest.raises(sdk_errors.NotFound):
        document(workspace, "nobody")


def test_provisioned_throughput_of_a_model_that_is_not_there(workspace: WorkspaceClient) -> None:
    with pytest.raises(sdk_errors.NotFound, match=r"main\.llm\.llama"):
        workspace.serving_endpoints.create_provisioned_throughput_endpoint("llama", PT_CONFIG)
    with pytest.raises(sdk_errors.NotFound, match="'llama'"):
        workspace.serving_endpoints.update_provisioned_throughput_endpoint_config("llama", PT_CONFIG)


def test_a_custom_model_is_not_optimizable(workspace: WorkspaceClient, registered) -> None:
    model = registered("iris")
    info = workspace.api_client.do("GET", f"{OPTIMIZATION}/{model.name}/{model.version}")
    assert info["optimizable"] is False
    assert info["message"]
    for missing in (f"{model.name}/99", "main.default.nobody/1"):
        with pytest.raises(sdk_errors.NotFound):
            workspace.api_client.do("GET", f"{OPTIMIZATION}/{missing}")


def test_external_functions_are_not_implemented(workspace: WorkspaceClient) -> None:
    with pytest.raises(sdk_errors.NotImplemented, match="External functions"):
        workspace.serving_endpoints.http_request("conn", ExternalFunctionRequestHttpMethod.GET, "/path")
