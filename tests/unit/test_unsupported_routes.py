"""Routes that are understood and refused: provisioned throughput and external functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ENDPOINTS, ControlPlane, control_plane, entity

UNITS = {"entity_name": "main.llm.llama", "entity_version": "1", "provisioned_model_units": 50}
CONFIG = {"served_entities": [UNITS]}
CREATE = {"name": "llama", "config": CONFIG, "tags": [{"key": "team", "value": "a"}], "budget_policy_id": "b"}
OPTIMIZATION = f"{ENDPOINTS}/get-model-optimization-info"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def outcome(response: Any) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["error_code"], body["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{ENDPOINTS}/pt", CREATE),
        ("POST", f"{ENDPOINTS}/pt/", {"name": "llama", "config": CONFIG}),
        ("PUT", f"{ENDPOINTS}/pt/llama/config", {"config": {**CONFIG, "traffic_config": {"routes": []}}}),
    ],
)
def test_provisioned_throughput_is_not_implemented(plane: ControlPlane, method: str, path: str, body: Any) -> None:
    status, code, message = outcome(plane.request(method, path, json=body))
    assert (status, code) == (501, "NOT_IMPLEMENTED")
    assert "Foundation models" in message
    assert plane.request("GET", ENDPOINTS).json() == {"endpoints": []}


def entity_with(**fields: Any) -> dict[str, Any]:
    return {"config": {"served_entities": [{**UNITS, **fields}]}}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("POST /pt", {"config": CONFIG}, "'name'"),
        ("POST /pt", {**CREATE, "name": "a b"}, "'name'"),
        ("POST /pt", {"name": "llama"}, "'config'"),
        ("POST /pt", {"name": "llama", "config": {}}, "'config.served_entities'"),
        ("POST /pt", {"name": "llama", "config": {"served_entities": []}}, "'config.served_entities'"),
        ("PUT /pt/llama/config", {}, "'config'"),
        ("PUT /pt/llama/config", entity_with(entity_name=None), "'config.served_entities[0].entity_name'"),
        ("PUT /pt/llama/config", entity_with(provisioned_model_units=-1), "provisioned_model_units'"),
        ("PUT /pt/llama/config", entity_with(provisioned_model_units="many"), "provisioned_model_units'"),
    ],
)
def test_a_body_is_checked_before_it_is_refused(plane: ControlPlane, path: str, body: Any, words: str) -> None:
    method, _, rest = path.partition(" ")
    status, code, message = outcome(plane.request(method, ENDPOINTS + rest, json=body))
    assert status == 400
    assert code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
    assert words in message


def test_an_endpoint_may_be_named_as_these_routes_are(plane: ControlPlane) -> None:
    for name in ("pt", "get-model-optimization-info"):
        plane.create(name)
        assert plane.request("GET", f"{ENDPOINTS}/{name}").json()["name"] == name
        assert plane.request("GET", f"{ENDPOINTS}/{name}/served-models/ads1-1/logs").json() == {"logs": ""}
        answer = plane.request("PUT", f"{ENDPOINTS}/{name}/config", json={"served_entities": [entity()]})
        assert answer.json()["error_code"] == "RESOURCE_CONFLICT"  # its first configuration is on its way
        assert plane.request("DELETE", f"{ENDPOINTS}/{name}").json() == {}


def test_a_registered_model_is_not_optimizable(plane: ControlPlane) -> None:
    answer = plane.request("GET", f"{OPTIMIZATION}/prod.ml.fraud/3")
    assert answer.status_code == 200
    assert answer.json()["optimizable"] is False
    assert "custom model" in answer.json()["message"]


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nosuch/1", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("prod.ml.fraud/9", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("prod.ml.fraud/latest", 400, "INVALID_PARAMETER_VALUE"),
        ("prod..fraud/3", 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_an_unknown_model_has_no_optimization_info(plane: ControlPlane, model: str, status: int, code: str) -> None:
    assert outcome(plane.request("GET", f"{OPTIMIZATION}/{model}"))[:2] == (status, code)


@pytest.mark.parametrize("body", [{"connection_name": "c", "method": "GET", "path": "/"}, {}, None])
def test_external_functions_are_not_implemented(plane: ControlPlane, body: Any) -> None:
    status, code, message = outcome(plane.request("POST", "/api/2.0/external-function", json=body))
    assert (status, code) == (501, "NOT_IMPLEMENTED")
    assert "External functions" in message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{ENDPOINTS}/pt"),
        ("PUT", f"{ENDPOINTS}/pt/llama/config"),
        ("GET", f"{OPTIMIZATION}/prod.ml.fraud/3"),
        ("POST", "/api/2.0/external-function"),
    ],
)
def test_without_a_caller_nothing_is_answered(plane: ControlPlane, method: str, path: str) -> None:
    assert plane.request(method, path, None, json=CREATE).status_code == 401
