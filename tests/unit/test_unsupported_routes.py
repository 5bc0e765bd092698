"""Routes that are understood and refused, and names that are those of routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ENDPOINTS, ControlPlane, control_plane, entity


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def outcome(response: Any) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["error_code"], body["message"]


def test_an_endpoint_may_be_named_as_these_routes_are(plane: ControlPlane) -> None:
    for name in ("pt", "get-model-optimization-info"):
        plane.create(name)
        assert plane.request("GET", f"{ENDPOINTS}/{name}").json()["name"] == name
        assert plane.request("GET", f"{ENDPOINTS}/{name}/served-models/ads1-1/logs").json() == {"logs": ""}
        answer = plane.request("PUT", f"{ENDPOINTS}/{name}/config", json={"served_entities": [entity()]})
        assert answer.json()["error_code"] == "RESOURCE_CONFLICT"  # its first configuration is on its way
        assert plane.request("DELETE", f"{ENDPOINTS}/{name}").json() == {}


@pytest.mark.parametrize("body", [{"connection_name": "c", "method": "GET", "path": "/"}, {}, None])
def test_external_functions_are_not_implemented(plane: ControlPlane, body: Any) -> None:
    status, code, message = outcome(plane.request("POST", "/api/2.0/external-function", json=body))
    assert (status, code) == (501, "NOT_IMPLEMENTED")
    assert "External functions" in message


def test_without_a_caller_nothing_is_answered(plane: ControlPlane) -> None:
    assert plane.request("POST", "/api/2.0/external-function", None, json={}).status_code == 401
