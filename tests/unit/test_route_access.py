"""Each route with each kind of caller: who has not what it needs is refused, who has it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, ControlPlane, control_plane, entity
from mlflow_in_process import mlflow_api, mlflow_folder
from route_access import ROUTES, Needs, Route

from moorage.api.routing import Principal
from moorage.control.store import permissions
from moorage.control.store.models import Permission, RegisteredModelOwner, User
from moorage.control.store.permissions import ObjectType

CALLERS = {
    Needs.CREDENTIAL: Principal(id="2001", user_name="stranger@example.com"),
    Needs.VIEW: Principal(id="2002", user_name="viewer@example.com"),
    Needs.QUERY: Principal(id="2003", user_name="querier@example.com"),
    Needs.MANAGE: Principal(id="2004", user_name="manager@example.com"),
    Needs.ADMIN: ADMIN,
}
LEVELS = {
    Needs.VIEW: ("CAN_VIEW", "READ"),
    Needs.QUERY: ("CAN_QUERY", "WRITE"),
    Needs.MANAGE: ("CAN_MANAGE", "MANAGE"),
}
STREAMED = "/stream"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Ann has the endpoint `ads` and the scope `vault`; each of the callers has their level on both."""
    with control_plane(tmp_path, mlflow=mlflow_api(), artifacts=mlflow_folder() / "artifacts") as plane:
        created = plane.create()
        vault = {"scope": "vault", "key": "k", "string_value": "v"}
        for path in ("scopes/create", "put"):
            assert plane.request("POST", f"/api/2.0/secrets/{path}", ANN, json=vault).status_code == 200
        with plane.sessions.begin() as session:
            for needs, caller in CALLERS.items():
                if caller is not ADMIN:
                    session.add(User(id=caller.id, user_name=caller.user_name, created_at=1))
                if needs in LEVELS:
                    endpoint, scope = LEVELS[needs]
                    permissions.grant(session, ObjectType.SERVING_ENDPOINT, created["id"], caller.id, endpoint)
                    permissions.grant(session, ObjectType.SECRET_SCOPE, "vault", caller.id, scope)
                    # Who may change an endpoint must also be able to read the model that it is to serve.
                    permissions.grant(session, ObjectType.REGISTERED_MODEL, "ads1", caller.id, "CAN_READ")
            assert session.query(Permission).count() >= 9
        yield plane


def ask(plane: ControlPlane, route: Route, caller: Principal | None) -> Any:
    options: dict[str, Any] = {"params": route.query}
    if route.body is not None:
        options["content"] = json.dumps(route.body)
    return plane.request(route.method, route.url, caller, **options)


def test_the_table_has_every_route(plane: ControlPlane) -> None:
    paths = plane.client.app.openapi()["paths"]  # type: ignore[attr-defined]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {(route.method, route.template) for route in ROUTES} == served


@pytest.mark.parametrize("route", [one for one in ROUTES if one.needs > Needs.NOTHING], ids=str)
def test_who_lacks_what_a_route_needs_is_refused_and_who_has_it_is_not(plane: ControlPlane, route: Route) -> None:
    assert ask(plane, route, None).status_code == 401
    for held, caller in CALLERS.items():
        if held >= route.needs and route.url.endswith(STREAMED):
            continue  # it would not end; those who are refused are answered at once
        answer = ask(plane, route, caller)
        assert "error_code" in answer.text or answer.status_code < 400 or "detail" in answer.text, answer.text
        if held < route.needs:
            assert answer.status_code == 403, f"{caller.user_name}: {answer.status_code} {answer.text}"
        else:
            assert answer.status_code not in (401, 403), f"{caller.user_name}: {answer.text}"
            assert answer.status_code < 500 or answer.status_code == 501, answer.text


def test_what_an_endpoint_may_serve_is_what_the_caller_may_read(plane: ControlPlane) -> None:
    """The manager of an endpoint puts no model into it that is not theirs to read."""
    plane.registry.add("secret-model", "1")
    with plane.sessions.begin() as session:
        session.add(RegisteredModelOwner(name="secret-model", owner_id=ANN.id))
    body = {"served_entities": [entity(entity_name="secret-model")]}
    path = "/api/2.0/serving-endpoints/ads/config"
    assert plane.request("POST", f"{path}:cancel", ANN).status_code == 200
    assert plane.request("PUT", path, CALLERS[Needs.MANAGE], json=body).status_code in (403, 404)
