"""Serverless Real-Time Inference: its routes, what they show, and its endpoints in the newer API."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane

from moorage.api.errors import TemporarilyUnavailable
from moorage.api.legacy import MODEL_STAGES
from moorage.api.registry_access import RegistryRequest
from moorage.api.routing import Availability, EndpointRoute, LegacyRoute, Principal, ServedRoute
from moorage.api.wire import check_name
from moorage.control import configurations
from moorage.control.legacy import rows as legacy_rows
from moorage.control.legacy.rows import NO_ROOM
from moorage.control.reconciler.records import Records
from moorage.control.registry_access import RegistryAccess
from moorage.control.store import endpoints, groups, legacy, permissions, registered_models
from moorage.control.store.engine import reading
from moorage.control.store.models import Config, Deployment, Endpoint, Group, Replica, User
from moorage.control.store.permissions import ObjectType
from moorage.registry.client import ModelVersion

V2 = "/api/2.0/preview/mlflow/endpoints-v2"
OLDER_UPDATE = "/api/2.0/preview/model-serving-api/endpoints-v2/update-compute-config"
TRANSITION = "/api/2.0/mlflow/databricks/model-versions/transition-stage"
PERMISSIONS = "/api/2.0/permissions/serving-endpoints"
MODEL, FRAUD = "ads1", "prod.ml.fraud"
LEVELS = [
    "CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE",
]  # fmt: skip
CREATES_CLUSTERS = "allow-cluster-create"
SCIENCE = "2001"
OF_MODEL = {"registered_model_name": MODEL}
OF_VERSION = {**OF_MODEL, "endpoint_version_name": "1"}
SMALL = {"workload_size_id": "Small", "scale_to_zero_enabled": False}
LARGE = {"workload_size_id": "Large", "scale_to_zero_enabled": True}
COMPUTE = {**OF_MODEL, "stage": "Staging", "desired_workload_config_spec": LARGE}
MOVE = {"name": MODEL, "version": "2", "stage": "Production"}
MODEL_READS = ("get-status", "list-versions", "list-version-aliases", "get-event-history")
VERSION_READS = ("get-version-status", "get-version-metrics", "get-version-replicas")
GETS: dict[str, Mapping[str, str]] = {
    **dict.fromkeys(MODEL_READS, OF_MODEL),
    **dict.fromkeys(VERSION_READS, OF_VERSION),
}
BODIES: dict[tuple[str, str], Mapping[str, Any]] = {
    ("POST", f"{V2}/enable"): OF_MODEL,
    ("PUT", f"{V2}/update-compute-config"): COMPUTE,
    ("PUT", OLDER_UPDATE): COMPUTE,
    ("POST", f"{V2}/restart-compute-config-update"): OF_MODEL,
    ("POST", f"{V2}/get-version-logs"): OF_VERSION,
    ("POST", f"{V2}/get-version-build-logs"): OF_VERSION,
    ("POST", TRANSITION): MOVE,
    ("POST", f"{V2}/disable"): OF_MODEL,
}


def ready(plane: ControlPlane) -> ControlPlane:
    """Ann owns model `ads1`, which has versions 1 and 2, and may create clusters."""
    with plane.sessions.begin() as session:
        registered_models.record_owner(session, MODEL, ANN.id)
        session.get_one(User, ANN.id).entitlements = [CREATES_CLUSTERS]
    return plane


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield ready(plane)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One for all the requests that change nothing: `ads1` is served, with version 1 in Staging."""
    with control_plane(tmp_path_factory.mktemp("refusing")) as plane:
        ready(plane)
        plane.registry.add(MODEL, "1", stage="Staging")
        enable(plane)
        reconcile(plane)
        yield plane


def get(plane: ControlPlane, operation: str, caller: Principal = ANN, /, **params: Any) -> Any:
    params = {**OF_MODEL, **params}
    return plane.request("GET", f"{V2}/{operation}", caller, params=params)


def post(plane: ControlPlane, operation: str, caller: Principal = ANN, /, **body: Any) -> Any:
    return plane.request("POST", f"{V2}/{operation}", caller, json={**OF_MODEL, **body})


def done(response: Any) -> Any:
    """The answer's document, of a request that must succeed."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def refused(response: Any, status: int, code: str) -> str:
    """The words of a refusal."""
    document = response.json()
    assert (response.status_code, document["error_code"]) == (status, code), response.text
    message: str = document["message"]
    return message


def enable(plane: ControlPlane, model: str = MODEL, caller: Principal = ANN) -> str:
    """Serve the model by stage; the name of its endpoint."""
    assert done(post(plane, "enable", caller, registered_model_name=model)) == {}
    status = done(get(plane, "get-status", ADMIN, registered_model_name=model))
    name: str = status["endpoint_status"]["endpoint_name"]
    return name


def compute(plane: ControlPlane, stage: str, spec: Mapping[str, Any], caller: Principal = ANN) -> None:
    body = {**OF_MODEL, "stage": stage, "desired_workload_config_spec": spec}
    assert done(plane.request("PUT", f"{V2}/update-compute-config", caller, json=body)) == {}


def move(plane: ControlPlane, version: str, stage: str, caller: Principal = ANN, **fields: Any) -> dict[str, Any]:
    body = {"name": MODEL, "version": version, "stage": stage, **fields}
    moved: dict[str, Any] = done(plane.request("POST", TRANSITION, caller, json=body))["model_version_databricks"]
    return moved


def endpoint_id(plane: ControlPlane, model: str = MODEL) -> str:
    with reading(plane.sessions) as session:
        found = legacy.find(session, model)
        assert found is not None
        return found[1].id


def reconcile(plane: ControlPlane, model: str = MODEL) -> None:
    """What the reconciler does with the rows, until there is nothing more to do."""
    records = Records(plane.sessions)
    for _ in range(10):
        record = records.endpoint(endpoint_id(plane, model))
        assert record is not None
        wanted = record.plan()
        if wanted is None or not records.follow_stages(record, wanted, plane.clock()):
            return
    raise AssertionError("the plan is another one after it was carried out")


def served(plane: ControlPlane, model: str = MODEL) -> dict[str, Deployment]:
    """The deployments of the configuration that serves, by their names."""
    with reading(plane.sessions) as session:
        endpoint = session.get_one(Endpoint, endpoint_id(plane, model))
        if endpoint.active_version is None:
            return {}
        config = session.get_one(Config, (endpoint.id, endpoint.active_version))
        return {
            one["name"]: session.get_one(Deployment, one["deployment_id"]) for one in config.body["served_entities"]
        }


def advance(plane: ControlPlane, phase: str, *names: str, message: str = "", model: str = MODEL) -> None:
    """Bring these served entities, or all, to a phase, and have the plan follow."""
    ids = [one.id for name, one in served(plane, model).items() if not names or name in names]
    assert len(ids) >= len(names)
    with plane.sessions.begin() as session:
        for one in ids:
            deployment = session.get_one(Deployment, one)
            deployment.phase, deployment.message = phase, message
    reconcile(plane, model)


def serve(plane: ControlPlane, **stages: str) -> None:
    """Enable the model with its versions (`v1`, ...) in these stages, all of them up."""
    for version, stage in stages.items():
        plane.registry.add(MODEL, version[1:], stage=stage)
    enable(plane)
    reconcile(plane)
    advance(plane, "READY")


def status(plane: ControlPlane, model: str = MODEL) -> dict[str, Any]:
    found: dict[str, Any] = done(get(plane, "get-status", ADMIN, registered_model_name=model))["endpoint_status"]
    return found


def version_status(plane: ControlPlane, version: str) -> dict[str, Any]:
    answer = done(get(plane, "get-version-status", ADMIN, endpoint_version_name=version))
    found: dict[str, Any] = answer["endpoint_status"]
    return found


def states(plane: ControlPlane, version: str) -> tuple[str, str]:
    """The states of what serves and of the newest compute configuration, without what all of them begin with."""
    found = version_status(plane, version)
    both = (found["service_status"]["state"], found["config_update_status"]["state"])
    return both[0].removeprefix("SERVICE_STATE_"), both[1].removeprefix("SERVICE_STATE_")


def aliases(plane: ControlPlane) -> dict[str, str]:
    answer = done(get(plane, "list-version-aliases"))
    return {one["alias"]: one["endpoint_version_name"] for one in answer["aliases"]}


def events(plane: ControlPlane, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done(get(plane, "get-event-history", **params))["events"]
    return found


def grant(plane: ControlPlane, level: str, who: str = BOB.id, model: str = MODEL) -> None:
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, model, who, level)


class TestPaths:
    @pytest.mark.parametrize("root", ["/api/2.0", "", "/ajax-api/2.0"])
    @pytest.mark.parametrize("end", ["", "/"])
    def test_every_route_has_all_its_forms(self, plane: ControlPlane, root: str, end: str) -> None:
        serve(plane, v1="Staging")
        advance(plane, "FAILED")

        def at(path: str) -> str:
            return f"{root}{path.removeprefix('/api/2.0')}{end}"

        for operation, params in GETS.items():
            canonical = done(plane.request("GET", f"{V2}/{operation}", params=params))
            assert done(plane.request("GET", at(f"{V2}/{operation}"), params=params)) == canonical
        for operation in ("list", "get-supported-workload-sizes"):
            assert done(plane.request("GET", at(f"{V2}/{operation}")))
        for (method, path), body in BODIES.items():
            answer = done(plane.request(method, at(path), json=body))
            assert answer == {} or answer.keys() in ({"logs"}, {"model_version_databricks"})
            if path.endswith("update-compute-config"):
                reconcile(plane)
                advance(plane, "FAILED")  # so that there is something to try again
        assert get(plane, "get-status").status_code == 404

    def test_a_wrong_method_is_no_api(self, plane: ControlPlane) -> None:
        for method, path in (("GET", f"{V2}/enable"), ("POST", f"{V2}/list"), ("POST", OLDER_UPDATE)):
            refused(plane.request(method, path, json=OF_MODEL), 404, "ENDPOINT_NOT_FOUND")

    @pytest.mark.parametrize("operation", GETS)
    def test_a_get_takes_its_parameters_from_the_query_or_the_body(
        self, refusing: ControlPlane, operation: str
    ) -> None:
        path, given = f"{V2}/{operation}", GETS[operation]
        by_query = done(refusing.request("GET", path, params=given))
        assert done(refusing.request("GET", path, json=given)) == by_query
        assert done(refusing.request("GET", path, content=json.dumps(given))) == by_query
        rest = {key: value for key, value in given.items() if key != "registered_model_name"}
        assert done(refusing.request("GET", path, params=OF_MODEL, json=rest)) == by_query
        other = {**given, "registered_model_name": "nosuch"}
        assert done(refusing.request("GET", path, params=given, json=other)) == by_query
        unknown = refusing.request("GET", path, ADMIN, params=other, json=given)
        assert "'nosuch'" in refused(unknown, 404, "RESOURCE_DOES_NOT_EXIST")

    def test_a_version_may_be_a_number(self, refusing: ControlPlane) -> None:
        numbered = {**OF_MODEL, "endpoint_version_name": 1}
        answer = done(refusing.request("GET", f"{V2}/get-version-status", json=numbered))
        assert answer["endpoint_status"]["endpoint_version_name"] == "1"

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"{", "not valid JSON"), (b"[]", "Expected an object"), (b'"x"', "Expected an object"), (b"\xff", "JSON")],
    )
    def test_a_body_that_is_no_object(self, refusing: ControlPlane, content: bytes, words: str) -> None:
        for operation in GETS:
            answer = refusing.request("GET", f"{V2}/{operation}", content=content)
            assert words in refused(answer, 400, "BAD_REQUEST")
        for method, path in BODIES:
            refused(refusing.request(method, path, content=content), 400, "BAD_REQUEST")

    def test_a_body_that_is_not_there(self, refusing: ControlPlane) -> None:
        for method, path in BODIES:
            refused(refusing.request(method, path), 400, "BAD_REQUEST")
        for operation in GETS:
            words = refused(refusing.request("GET", f"{V2}/{operation}"), 400, "INVALID_PARAMETER_VALUE")
            assert words == "Missing required field 'registered_model_name'"


OPTIONAL = {
    ("POST", f"{V2}/restart-compute-config-update"): {"stage": "Staging"},
    ("POST", f"{V2}/get-version-logs"): {"replica_name": "aaaaa"},
    ("POST", TRANSITION): {"archive_existing_versions": True, "comment": "why"},
    ("GET", f"{V2}/get-event-history"): {"endpoint_version_name": "1", "max_results": 5, "page_token": "7"},
}
ROUTES: dict[tuple[str, str], Mapping[str, Any]] = {
    **{("GET", f"{V2}/{operation}"): params for operation, params in GETS.items()},
    **BODIES,
}
NO_TEXT = (5, True, [], {}, ["x"])
WRONG: dict[str, tuple[object, ...]] = {
    "registered_model_name": (*NO_TEXT, "", "a/b", "a:b", "a\nb", "x" * 256, "a..b", "a\x00"),
    "endpoint_version_name": (True, [], {}, 1.5, "", "0", "01", "-1", "one", "1.0", "9" * 11, "Staging", 0, -1),
    "stage": (*NO_TEXT, "", "None", "Archived", "Prod", "Staging "),
    "desired_workload_config_spec": (5, True, [], "Small"),
    "replica_name": (*NO_TEXT, "a\x00"),
    "max_results": (True, [], {}, "x", "", 0, -1, 1001, 1.5),
    "page_token": (*NO_TEXT, "x", "-1", "1.0", "9" * 19, "٣"),
    "name": (*NO_TEXT, "", "a/b", "x" * 256),
    "version": (True, [], {}, 1.5, "", "0", "latest", 0),
    "archive_existing_versions": ("maybe", [], {}, 2),
    "comment": (*NO_TEXT, "a\x00"),
}
WRONG_MOVE = (*NO_TEXT, "", "Prod", "production2", "archive")
OF_SPEC: dict[str, tuple[object, ...]] = {
    "workload_size_id": (*NO_TEXT, "", "small", "XL"),
    "scale_to_zero_enabled": ("maybe", [], {}, 2),
}


def _wrong() -> Iterator[Any]:
    for (method, path), fields in ROUTES.items():
        operation = path.rsplit("/", 1)[1]
        for field in {**fields, **OPTIONAL.get((method, path), {})}:
            values = WRONG_MOVE if (path, field) == (TRANSITION, "stage") else WRONG[field]
            yield pytest.param(method, path, field, values, id=f"{operation}-{field}")


class TestFields:
    @pytest.mark.parametrize(("method", "path"), ROUTES)
    def test_a_missing_field_is_named(self, refusing: ControlPlane, method: str, path: str) -> None:
        whole = ROUTES[method, path]
        for field in whole:
            less = {key: value for key, value in whole.items() if key != field}
            for body in (less, {**whole, field: None}):
                words = refused(refusing.request(method, path, json=body), 400, "INVALID_PARAMETER_VALUE")
                assert words == f"Missing required field '{field}'"

    @pytest.mark.parametrize(("method", "path", "field", "values"), list(_wrong()))
    def test_a_wrong_field_is_named(
        self, refusing: ControlPlane, method: str, path: str, field: str, values: tuple[object, ...]
    ) -> None:
        for value in values:
            response = refusing.request(method, path, json={**ROUTES[method, path], field: value})
            assert response.status_code == 400, (value, response.text)
            assert response.json()["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
            assert f"'{field}'" in response.json()["message"], (value, response.text)

    @pytest.mark.parametrize("path", [f"{V2}/update-compute-config", OLDER_UPDATE])
    @pytest.mark.parametrize("field", OF_SPEC)
    def test_a_wrong_workload_is_named(self, refusing: ControlPlane, path: str, field: str) -> None:
        for value in OF_SPEC[field]:
            body = {**COMPUTE, "desired_workload_config_spec": {field: value}}
            response = refusing.request("PUT", path, json=body)
            assert response.status_code == 400, (value, response.text)
            assert f"'desired_workload_config_spec.{field}'" in response.json()["message"]

    def test_nothing_of_that_was_done(self, refusing: ControlPlane) -> None:
        found = done(get(refusing, "get-status"))["endpoint_status"]
        assert [one["workload_spec"] for one in found["compute_config"]] == [SMALL, SMALL]
        assert refusing.registry.versions[MODEL, "2"].stage == ""

    def test_optional_fields_may_be_null_and_unknown_ones_are_ignored(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        assert post(plane, "get-version-logs", **OF_VERSION, replica_name=None, verbose=True).status_code == 200
        assert events(plane, unknown="x") == events(plane)
        answer = plane.request("GET", f"{V2}/get-event-history", json={**OF_MODEL, "max_results": None})
        assert done(answer)["events"] == events(plane)

    @pytest.mark.parametrize("spelling", ["staging", "STAGING", "Staging"])
    def test_stages_may_be_written_in_any_case(self, plane: ControlPlane, spelling: str) -> None:
        enable(plane)
        compute(plane, spelling, LARGE)
        assert status(plane)["compute_config"][0]["workload_spec"] == LARGE
        assert move(plane, "1", spelling)["current_stage"] == "Staging"

    def test_a_workload_has_defaults_and_takes_text_for_a_boolean(self, plane: ControlPlane) -> None:
        enable(plane)
        compute(plane, "Staging", LARGE)
        compute(plane, "Staging", {})
        compute(plane, "Production", {"workload_size_id": "Medium", "scale_to_zero_enabled": "true"})
        found = [one["workload_spec"] for one in status(plane)["compute_config"]]
        assert found == [SMALL, {"workload_size_id": "Medium", "scale_to_zero_enabled": True}]


class TestEnabling:
    def test_a_model_without_a_version_to_serve(self, plane: ControlPlane) -> None:
        assert enable(plane) == MODEL
        plane.clock.now += 1
        config = {"creation_timestamp": plane.clock.now - 1, "user_id": ANN.user_name, "workload_spec": SMALL}
        assert status(plane) == {
            "registered_model_name": MODEL,
            "state": "PENDING",
            "state_message": "No version is in Staging or Production.",
            "compute_config": [{"stage": "Staging", **config}, {"stage": "Production", **config}],
            "endpoint_name": MODEL,
        }
        assert done(get(plane, "list-versions")) == {"endpoint_statuses": []}
        assert done(get(plane, "list-version-aliases")) == {"aliases": []}
        assert plane.notifier.endpoints == [endpoint_id(plane)]
        assert plane.notifier.committed == [True]

    def test_what_the_registry_has_is_known_at_once(self, plane: ControlPlane) -> None:
        plane.registry.add(MODEL, "1", stage="Production")
        plane.registry.add(MODEL, "2", stage="Staging")
        enable(plane)
        assert [one["endpoint_version_name"] for one in done(get(plane, "list-versions"))["endpoint_statuses"]] == [
            "1",
            "2",
        ]
        assert states(plane, "1") == ("UNKNOWN", "UNKNOWN")
        reconcile(plane)
        assert {name: one.creator for name, one in served(plane).items()} == {
            "ads1-1": ANN.user_name,
            "ads1-2": ANN.user_name,
        }

    def test_again_changes_nothing(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        compute(plane, "Staging", LARGE)
        before, told = status(plane), list(plane.notifier.endpoints)
        plane.clock.now += 1000
        assert enable(plane, caller=ADMIN) == MODEL
        assert (status(plane), plane.notifier.endpoints) == (before, told)
        assert len(done(plane.request("GET", ENDPOINTS))["endpoints"]) == 1

    def test_a_model_that_is_not_there(self, plane: ControlPlane) -> None:
        words = refused(post(plane, "enable", ADMIN, registered_model_name="nosuch"), 404, "RESOURCE_DOES_NOT_EXIST")
        assert words == "Registered model 'nosuch' not found."
        assert plane.notifier.endpoints == []

    def test_a_registry_that_does_not_answer(self, plane: ControlPlane) -> None:
        plane.registry.failure = TemporarilyUnavailable("The model registry does not answer")
        refused(post(plane, "enable"), 503, "TEMPORARILY_UNAVAILABLE")
        plane.registry.failure = None
        refused(get(plane, "get-status"), 404, "RESOURCE_DOES_NOT_EXIST")

    def test_it_needs_the_right_to_manage_the_model(self, plane: ControlPlane) -> None:
        with plane.sessions.begin() as session:
            session.get_one(User, BOB.id).entitlements = [CREATES_CLUSTERS]
        for level in LEVELS[:-1]:
            grant(plane, level)
            words = refused(post(plane, "enable", BOB), 403, "PERMISSION_DENIED")
            assert words == (
                "User 'bob@example.com' does not have CAN_MANAGE permission on registered model 'ads1'."
            )
        grant(plane, "CAN_MANAGE")
        enable(plane, caller=BOB)
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1", ADMIN))["creator"] == BOB.user_name

    def test_it_needs_the_right_to_create_clusters(self, plane: ControlPlane) -> None:
        grant(plane, "CAN_MANAGE")
        words = refused(post(plane, "enable", BOB), 403, "PERMISSION_DENIED")
        assert "'bob@example.com'" in words
        assert f"'{CREATES_CLUSTERS}'" in words
        with plane.sessions.begin() as session:
            session.get_one(User, BOB.id).entitlements = ["databricks-sql-access"]
        refused(post(plane, "enable", BOB), 403, "PERMISSION_DENIED")
        assert plane.notifier.endpoints == []
        with plane.sessions.begin() as session:
            session.get_one(User, BOB.id).entitlements = ["databricks-sql-access", CREATES_CLUSTERS]
        enable(plane, caller=BOB)

    def test_a_group_may_have_that_right(self, plane: ControlPlane) -> None:
        grant(plane, "CAN_MANAGE")
        with plane.sessions.begin() as session:
            session.add(Group(id=SCIENCE, display_name="science", entitlements=[CREATES_CLUSTERS], created_at=1))
        refused(post(plane, "enable", BOB), 403, "PERMISSION_DENIED")
        enable(plane, caller=BOB.model_copy(update={"groups": frozenset({SCIENCE, "gone"})}))

    def test_administrators_have_both(self, plane: ControlPlane) -> None:
        enable(plane, caller=ADMIN)
        assert status(plane)["compute_config"][0]["user_id"] == ADMIN.user_name

    @pytest.mark.parametrize(
        ("model", "name"),
        [
            (FRAUD, "prod-ml-fraud"),
            ("my model (new)", "my-model--new-"),
            ("databricks-dolly", "model-databricks-dolly"),
            ("databricks.dolly", "model-databricks-dolly"),
            ("x" * 255, "x" * 63),
            ("ü", "-"),
        ],
    )
    def test_the_endpoint_is_named_after_the_model(self, plane: ControlPlane, model: str, name: str) -> None:
        plane.registry.add(model, "1", stage="Production")
        assert enable(plane, model, ADMIN) == check_name(name)
        reconcile(plane, model)
        assert done(plane.request("GET", f"{ENDPOINTS}/{name}", ADMIN))["legacy_serving"] == {
            "registered_model_name": model,
            "aliases": [{"alias": "Production", "endpoint_version_name": "1"}],
        }

    def test_a_name_that_is_taken_is_left_to_its_endpoint(self, plane: ControlPlane) -> None:
        for number, model in enumerate(("prod ml fraud", "prod-ml-fraud", "prod_ml_fraud")):
            plane.registry.add(model, str(number + 1))
        plane.create("prod-ml-fraud")
        assert enable(plane, FRAUD, ADMIN) == "prod-ml-fraud-by-stage"
        assert enable(plane, "prod ml fraud", ADMIN) == "prod-ml-fraud-by-stage-2"
        assert enable(plane, "prod-ml-fraud", ADMIN) == "prod-ml-fraud-by-stage-3"
        assert enable(plane, "prod_ml_fraud", ADMIN) == "prod_ml_fraud"

    def test_long_names_that_are_taken_are_cut_in_favour_of_their_end(self, plane: ControlPlane) -> None:
        for end in "abc":
            plane.registry.add("x" * 80 + end, "1")
        found = [enable(plane, "x" * 80 + end, ADMIN) for end in "abc"]
        assert found == ["x" * 63, "x" * 54 + "-by-stage", "x" * 52 + "-by-stage-2"]
        assert [check_name(one) for one in found] == found

    def test_no_more_endpoints_than_a_workspace_has(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert configurations.MOST_ENDPOINTS == 1000
        monkeypatch.setattr(configurations, "MOST_ENDPOINTS", 2)
        plane.create("first")
        enable(plane, FRAUD, ADMIN)
        told = list(plane.notifier.endpoints)
        words = refused(post(plane, "enable"), 400, "INVALID_PARAMETER_VALUE")
        assert words == "Workspace exceeded serving endpoint quota: 2 endpoints"
        refused(get(plane, "get-status"), 404, "RESOURCE_DOES_NOT_EXIST")
        assert plane.notifier.endpoints == told
        assert len(done(plane.request("GET", ENDPOINTS, ADMIN))["endpoints"]) == 2
        enable(plane, FRAUD, ADMIN)  # that is enabled already
        done(plane.request("DELETE", f"{ENDPOINTS}/first"))
        enable(plane)


class TestDisabling:
    def test_everything_of_it_ends(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        ended = endpoint_id(plane)
        assert done(post(plane, "disable")) == {}
        assert plane.notifier.endpoints[-1] == ended
        assert plane.request("GET", f"{ENDPOINTS}/ads1").status_code == 404
        assert done(plane.request("GET", f"{V2}/list")) == {"endpoint_statuses": []}
        with reading(plane.sessions) as session:
            assert session.get_one(Endpoint, ended).deleting
            [event, *_] = endpoints.events(session, ended, endpoints.EventFilter(), 1)
            assert event.message == f"Serving disabled by {ANN.user_name}"

    def test_deleting_the_endpoint_is_the_same(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        assert done(plane.request("DELETE", f"{ENDPOINTS}/ads1")) == {}
        refused(get(plane, "get-status"), 404, "RESOURCE_DOES_NOT_EXIST")
        refused(post(plane, "disable"), 404, "RESOURCE_DOES_NOT_EXIST")
        assert enable(plane) == MODEL

    def test_it_begins_anew_afterwards(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        compute(plane, "Staging", LARGE)
        first = endpoint_id(plane)
        done(post(plane, "disable"))
        assert enable(plane) == MODEL
        assert endpoint_id(plane) != first
        assert [one["workload_spec"] for one in status(plane)["compute_config"]] == [SMALL, SMALL]
        assert served(plane) == {}
        reconcile(plane)
        assert states(plane, "1") == ("PENDING", "PENDING")
        assert {one["message"] for one in events(plane)} == {
            "Serving of registered model 'ads1' by stage enabled by ann@example.com",
            "Version 1 answers for Staging.",
        }


@pytest.mark.parametrize("model", [MODEL, "nosuch"])
def test_a_model_that_is_not_enabled(plane: ControlPlane, model: str) -> None:
    words = f"Registered model '{model}' is not enabled for serving."
    for (method, path), fields in ROUTES.items():
        if path.endswith("/enable") or path == TRANSITION:
            continue
        body = {**fields, "registered_model_name": model}
        assert refused(plane.request(method, path, ADMIN, json=body), 404, "RESOURCE_DOES_NOT_EXIST") == words


def test_a_version_that_is_not_served(plane: ControlPlane) -> None:
    serve(plane, v1="Staging", v2="Archived")
    asked = [("GET", f"{V2}/{operation}") for operation in VERSION_READS]
    asked += [("POST", f"{V2}/get-version-logs"), ("POST", f"{V2}/get-version-build-logs")]
    for version in ("2", "77"):
        for method, path in asked:
            body = {**OF_MODEL, "endpoint_version_name": version}
            words = refused(plane.request(method, path, json=body), 404, "RESOURCE_DOES_NOT_EXIST")
            assert words.startswith(f"Version {version} of registered model 'ads1' is not served")
        assert events(plane, endpoint_version_name=version) == []


NEEDED: list[tuple[str, str, dict[str, Any], str]] = [
    *(("GET", f"{V2}/{operation}", dict(params), "CAN_READ") for operation, params in GETS.items()),
    ("POST", f"{V2}/get-version-logs", OF_VERSION, "CAN_READ"),
    ("POST", f"{V2}/get-version-build-logs", OF_VERSION, "CAN_READ"),
    ("PUT", OLDER_UPDATE, COMPUTE, "CAN_MANAGE_STAGING_VERSIONS"),
    ("PUT", f"{V2}/update-compute-config", COMPUTE, "CAN_MANAGE_STAGING_VERSIONS"),
    ("PUT", f"{V2}/update-compute-config", {**COMPUTE, "stage": "production"}, "CAN_MANAGE_PRODUCTION_VERSIONS"),
    ("POST", f"{V2}/restart-compute-config-update", {**OF_MODEL, "stage": "Staging"}, "CAN_MANAGE_STAGING_VERSIONS"),
    (
        "POST",
        f"{V2}/restart-compute-config-update",
        {**OF_MODEL, "stage": "Production"},
        "CAN_MANAGE_PRODUCTION_VERSIONS",
    ),
    ("POST", f"{V2}/restart-compute-config-update", OF_MODEL, "CAN_MANAGE_PRODUCTION_VERSIONS"),
    ("POST", TRANSITION, {**MOVE, "stage": "Staging"}, "CAN_MANAGE_STAGING_VERSIONS"),
    ("POST", TRANSITION, {**MOVE, "stage": "none"}, "CAN_MANAGE_STAGING_VERSIONS"),
    ("POST", TRANSITION, {**MOVE, "stage": "PRODUCTION"}, "CAN_MANAGE_PRODUCTION_VERSIONS"),
    ("POST", TRANSITION, {**MOVE, "version": "5", "stage": "Archived"}, "CAN_MANAGE_PRODUCTION_VERSIONS"),
    ("POST", f"{V2}/disable", OF_MODEL, "CAN_MANAGE"),
]


class TestRights:
    @pytest.mark.parametrize("level", [None, *LEVELS])
    @pytest.mark.parametrize("through", ["user", "group"])
    def test_what_a_level_on_the_model_allows(self, plane: ControlPlane, level: str | None, through: str) -> None:
        plane.registry.add(MODEL, "5", stage="Production")
        serve(plane, v1="Staging")
        caller = BOB.model_copy(update={"groups": frozenset({SCIENCE})})
        if level is not None:
            grant(plane, level, BOB.id if through == "user" else SCIENCE)
        held = LEVELS.index(level) if level is not None else -1
        for method, path, body, needed in NEEDED:
            response = plane.request(method, path, caller, json=body)
            if held >= LEVELS.index(needed):
                assert response.status_code != 403, (path, response.text)
            else:
                # Of a move out of Production the level for where it goes is asked for first.
                either = "CAN_MANAGE_(STAGING|PRODUCTION)_VERSIONS" if path == TRANSITION else needed
                words = refused(response, 403, "PERMISSION_DENIED")
                assert re.fullmatch(
                    rf"User 'bob@example\.com' does not have {either} permission on registered model 'ads1'\.", words
                )

    def test_the_list_shows_what_one_may_read(self, plane: ControlPlane) -> None:
        for model in (FRAUD, "bobs"):
            plane.registry.add(model, "1")
            enable(plane, model, ADMIN)
        enable(plane)
        with plane.sessions.begin() as session:
            registered_models.record_owner(session, "bobs", BOB.id)

        def listed(caller: Principal) -> list[str]:
            answer = done(plane.request("GET", f"{V2}/list", caller))
            return [one["registered_model_name"] for one in answer["endpoint_statuses"]]

        assert listed(ADMIN) == [MODEL, "bobs", FRAUD]
        assert listed(ANN) == [MODEL, FRAUD]  # nobody owns the other one
        assert listed(BOB) == ["bobs", FRAUD]
        grant(plane, "CAN_READ")
        assert listed(BOB) == [MODEL, "bobs", FRAUD]
        everything = done(plane.request("GET", f"{V2}/list", ADMIN))["endpoint_statuses"]
        assert everything == [status(plane, one) for one in (MODEL, "bobs", FRAUD)]

    @pytest.mark.parametrize(
        ("level", "shown"),
        [(None, None), ("CAN_READ", "CAN_QUERY"), ("CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_QUERY"),
         ("CAN_MANAGE", "CAN_MANAGE")],
    )  # fmt: skip
    def test_the_endpoint_goes_by_the_rights_on_the_model(
        self, plane: ControlPlane, level: str | None, shown: str | None
    ) -> None:
        serve(plane, v1="Staging")
        if level is not None:
            grant(plane, level)
        response = plane.request("GET", f"{ENDPOINTS}/ads1", BOB)
        listed = [one["name"] for one in done(plane.request("GET", ENDPOINTS, BOB))["endpoints"]]
        if shown is None:
            refused(response, 403, "PERMISSION_DENIED")
            assert listed == []
        else:
            assert (done(response)["permission_level"], listed) == (shown, ["ads1"])
        deleted = plane.request("DELETE", f"{ENDPOINTS}/ads1", BOB)
        assert (deleted.status_code == 200) is (shown == "CAN_MANAGE")

    def test_who_has_enabled_it_has_no_right_from_that(self, plane: ControlPlane) -> None:
        grant(plane, "CAN_MANAGE")
        with plane.sessions.begin() as session:
            session.get_one(User, BOB.id).entitlements = [CREATES_CLUSTERS]
        enable(plane, caller=BOB)
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1", BOB))["permission_level"] == "CAN_MANAGE"
        grant(plane, "CAN_READ")
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1", BOB))["permission_level"] == "CAN_QUERY"
        refused(post(plane, "disable", BOB), 403, "PERMISSION_DENIED")
        with plane.sessions.begin() as session:
            permissions.forget_object(session, ObjectType.REGISTERED_MODEL, MODEL)
        refused(plane.request("GET", f"{ENDPOINTS}/ads1", BOB), 403, "PERMISSION_DENIED")

    def test_everybody_may_query_a_model_that_nobody_owns(self, plane: ControlPlane) -> None:
        enable(plane, FRAUD, ADMIN)
        with reading(plane.sessions) as session:
            users = groups.memberships(session).users_id
        record = Records(plane.sessions).endpoint(endpoint_id(plane, FRAUD))
        assert record is not None
        assert record.grants == {users: "CAN_QUERY"}
        caller = BOB.model_copy(update={"groups": frozenset({users})})
        shown = done(plane.request("GET", f"{ENDPOINTS}/prod-ml-fraud", caller))
        assert shown["permission_level"] == "CAN_QUERY"

    def test_the_permissions_of_the_endpoint_are_shown_as_the_models(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        grant(plane, "CAN_EDIT")
        for identifier in ("ads1", endpoint_id(plane)):
            shown = done(plane.request("GET", f"{PERMISSIONS}/{identifier}"))
            found = {one.get("user_name", one.get("group_name")): one for one in shown["access_control_list"]}
            assert found[ANN.user_name]["all_permissions"] == [{"permission_level": "CAN_MANAGE", "inherited": False}]
            assert found[BOB.user_name]["all_permissions"] == [
                {
                    "permission_level": "CAN_QUERY",
                    "inherited": True,
                    "inherited_from_object": ["/registered-models/ads1"],
                }
            ]
            assert found["admins"]["all_permissions"][0]["permission_level"] == "CAN_MANAGE"
            assert found.keys() == {ANN.user_name, BOB.user_name, "admins"}

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_the_permissions_of_the_endpoint_cannot_be_changed(self, plane: ControlPlane, method: str) -> None:
        serve(plane, v1="Staging")
        body = {"access_control_list": [{"user_name": BOB.user_name, "permission_level": "CAN_QUERY"}]}
        words = refused(plane.request(method, f"{PERMISSIONS}/ads1", json=body), 400, "INVALID_PARAMETER_VALUE")
        assert "/registered-models/ads1" in words
        assert BOB.user_name not in plane.request("GET", f"{PERMISSIONS}/ads1").text
        refused(plane.request(method, f"{PERMISSIONS}/ads1", BOB, json=body), 403, "PERMISSION_DENIED")

    def test_a_grant_on_the_model_is_told_of_the_endpoint(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        body = {"access_control_list": [{"user_name": BOB.user_name, "permission_level": "CAN_READ"}]}
        done(plane.request("PATCH", "/api/2.0/permissions/registered-models/ads1", json=body))
        assert plane.notifier.routed == [endpoint_id(plane)]
        record = Records(plane.sessions).endpoint(endpoint_id(plane))
        assert record is not None
        assert record.grants == {ANN.id: "CAN_MANAGE", BOB.id: "CAN_QUERY"}


class TestStatus:
    @pytest.mark.parametrize(
        ("phase", "state", "of_version"),
        [
            ("PENDING", "PENDING", "PENDING"),
            ("FETCHING", "PENDING", "PENDING"),
            ("BUILDING", "PENDING", "PENDING"),
            ("STARTING", "PENDING", "PENDING"),
            ("READY", "READY", "READY"),
            ("RECOVERING", "READY", "READY"),
            ("FAILED", "FAILED", "FAILED"),
        ],
    )
    def test_what_a_phase_is(self, plane: ControlPlane, phase: str, state: str, of_version: str) -> None:
        plane.registry.add(MODEL, "1", stage="Production")
        enable(plane)
        reconcile(plane)
        advance(plane, phase, message="It is like that.")
        assert states(plane, "1") == (of_version, of_version)
        found = status(plane)
        assert found["state"] == state
        up = state == "READY"
        assert found["state_message"] == ("Ready" if up else "Version 1: It is like that.")
        of_one = version_status(plane, "1")
        config = {
            "stage": "Production",
            "creation_timestamp": plane.clock.now,
            "user_id": ANN.user_name,
            "workload_spec": SMALL,
        }
        service = {
            "state": f"SERVICE_STATE_{of_version}",
            "message": "Ready" if up else "It is like that.",
            "config": config,
        }
        assert of_one == {
            "registered_model_name": MODEL,
            "endpoint_version_name": "1",
            "service_status": service,
            "config_update_status": service,
            "served_entity_name": "ads1-1",
        }
        assert done(get(plane, "list-versions")) == {"endpoint_statuses": [of_one]}

    def test_before_anything_was_made(self, plane: ControlPlane) -> None:
        plane.registry.add(MODEL, "1", stage="Staging")
        enable(plane)
        found = version_status(plane, "1")
        assert found["service_status"]["state"] == "SERVICE_STATE_UNKNOWN"
        assert found["service_status"]["message"] == "Pending"
        assert found["served_entity_name"] == "ads1-1"
        assert (status(plane)["state"], aliases(plane)) == ("PENDING", {})

    def test_one_stage_that_can_be_scored_is_enough(self, plane: ControlPlane) -> None:
        plane.registry.add(MODEL, "1", stage="Staging")
        plane.registry.add(MODEL, "2", stage="Production")
        enable(plane)
        reconcile(plane)
        advance(plane, "FAILED", "ads1-1", message="boom")
        assert status(plane)["state"] == "PENDING"
        advance(plane, "READY", "ads1-2")
        assert status(plane)["state"] == "READY"
        assert (states(plane, "1"), states(plane, "2")) == (("FAILED", "FAILED"), ("READY", "READY"))
        advance(plane, "FAILED", message="boom")
        assert (status(plane)["state"], status(plane)["state_message"]) == ("FAILED", "Version 2: boom")

    def test_before_the_registry_has_been_asked(self, plane: ControlPlane) -> None:
        enable(plane)
        with plane.sessions.begin() as session:
            found = legacy.find(session, MODEL)
            assert found is not None
            found[0].stages = None
        reconcile(plane)
        assert status(plane)["state"] == "PENDING"
        assert status(plane)["state_message"] == "The model registry has not been read yet."
        assert done(get(plane, "list-versions")) == {"endpoint_statuses": []}
        assert served(plane) == {}

    def test_versions_are_in_the_order_of_their_numbers(self, plane: ControlPlane) -> None:
        serve(plane, v10="Staging", v9="Production", v1="Staging")
        found = done(get(plane, "list-versions"))["endpoint_statuses"]
        assert [one["endpoint_version_name"] for one in found] == ["1", "9", "10"]
        assert [one["service_status"]["config"]["stage"] for one in found] == ["Staging", "Production", "Staging"]

    def test_the_newest_of_a_stage_answers_for_it(self, plane: ControlPlane) -> None:
        serve(plane, v1="Production", v2="Production", v10="Staging")
        assert done(get(plane, "list-version-aliases")) == {
            "aliases": [
                {"alias": "Staging", "endpoint_version_name": "10"},
                {"alias": "Production", "endpoint_version_name": "2"},
            ]
        }

    def test_an_archived_version_is_served_until_its_successor_is_ready(self, plane: ControlPlane) -> None:
        serve(plane, v1="Production")
        move(plane, "2", "Production", archive_existing_versions=True)
        reconcile(plane)
        assert aliases(plane) == {"Production": "1"}
        assert (states(plane, "1"), states(plane, "2")) == (("READY", "READY"), ("PENDING", "PENDING"))
        assert version_status(plane, "1")["service_status"]["config"]["stage"] == "Production"
        advance(plane, "READY", "ads1-2")
        assert aliases(plane) == {"Production": "2"}
        refused(get(plane, "get-version-status", endpoint_version_name="1"), 404, "RESOURCE_DOES_NOT_EXIST")
        assert list(served(plane)) == ["ads1-2"]

    def test_a_model_that_has_left_the_registry(self, plane: ControlPlane) -> None:
        serve(plane, v1="Production")
        plane.registry.versions.clear()
        plane.client.app.state.stage_watcher.look(MODEL)  # type: ignore[attr-defined]
        reconcile(plane)
        found = status(plane)
        assert (found["state"], found["state_message"]) == (
            "FAILED",
            "Registered model 'ads1' is no longer in the registry.",
        )
        assert (served(plane), aliases(plane)) == ({}, {})


class TestCompute:
    def test_the_old_workload_serves_until_the_new_one_can(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging", v2="Production")
        plane.clock.now += 5000
        with plane.sessions.begin() as session:
            permissions.grant(session, ObjectType.REGISTERED_MODEL, MODEL, BOB.id, "CAN_MANAGE_STAGING_VERSIONS")
        compute(plane, "Staging", LARGE, BOB)
        old = {
            "stage": "Staging",
            "creation_timestamp": plane.clock.now - 5000,
            "user_id": ANN.user_name,
            "workload_spec": SMALL,
        }
        new = {
            "stage": "Staging",
            "creation_timestamp": plane.clock.now,
            "user_id": BOB.user_name,
            "workload_spec": LARGE,
        }
        assert status(plane)["compute_config"] == [new, {**old, "stage": "Production"}]
        assert states(plane, "1") == ("READY", "UNKNOWN")
        reconcile(plane)
        for phase, state in (("PENDING", "PENDING"), ("BUILDING", "PENDING"), ("FAILED", "FAILED")):
            advance(plane, phase, "ads1-1-2", message="boom")
            found = version_status(plane, "1")
            assert found["service_status"] == {"state": "SERVICE_STATE_READY", "message": "Ready", "config": old}
            assert found["config_update_status"] == {
                "state": f"SERVICE_STATE_{state}",
                "message": "boom",
                "config": new,
            }
            assert found["served_entity_name"] == "ads1-1"
            assert states(plane, "2") == ("READY", "READY")
            assert status(plane)["state"] == "READY"
        advance(plane, "READY", "ads1-1-2")
        found = version_status(plane, "1")
        assert found["service_status"] == found["config_update_status"]
        assert found["service_status"] == {"state": "SERVICE_STATE_READY", "message": "Ready", "config": new}
        assert found["served_entity_name"] == "ads1-1-2"
        assert list(served(plane)) == ["ads1-1-2", "ads1-2"]
        spec = served(plane)["ads1-1-2"].spec
        assert (spec["workload_size"], spec["scale_to_zero_enabled"]) == ("Large", True)
        assert served(plane)["ads1-1-2"].creator == BOB.user_name
        assert served(plane)["ads1-1-2"].max_concurrency == 64

    def test_a_workload_that_is_the_same_makes_nothing_new(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        before = {name: one.id for name, one in served(plane).items()}
        compute(plane, "Staging", SMALL)
        reconcile(plane)
        assert {name: one.id for name, one in served(plane).items()} == before

    def test_small_to_large_to_small(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        for spec, name in ((LARGE, "ads1-1-2"), (SMALL, "ads1-1"), (LARGE, "ads1-1-2")):
            compute(plane, "Staging", spec)
            reconcile(plane)
            assert states(plane, "1") == ("READY", "PENDING")
            advance(plane, "READY")
            assert list(served(plane)) == [name]
            assert states(plane, "1") == ("READY", "READY")

    def test_what_is_asked_for_is_told_and_in_the_events(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        plane.notifier.endpoints.clear()
        compute(plane, "Staging", LARGE)
        compute(plane, "Production", {"workload_size_id": "Medium"})
        assert plane.notifier.endpoints == [endpoint_id(plane)] * 2
        assert [one["message"] for one in events(plane, max_results=2)] == [
            "Compute configuration of Production changed by ann@example.com: Medium",
            "Compute configuration of Staging changed by ann@example.com: Large, scales to zero",
        ]

    def test_what_has_failed_can_be_tried_again(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging", v2="Production")
        failed = served(plane)["ads1-2"].id
        advance(plane, "FAILED", "ads1-2", message="boom")
        plane.notifier.endpoints.clear()
        words = refused(
            post(plane, "restart-compute-config-update", stage="Staging"), 400, "INVALID_PARAMETER_VALUE"
        )
        assert words == "Nothing has failed of registered model 'ads1' in Staging"
        assert plane.notifier.endpoints == []
        assert done(post(plane, "restart-compute-config-update", stage="production")) == {}
        assert plane.notifier.endpoints == [endpoint_id(plane)]
        assert states(plane, "2") == ("UNKNOWN", "UNKNOWN")
        reconcile(plane)
        assert states(plane, "2") == ("PENDING", "PENDING")
        assert served(plane)["ads1-2"].id != failed
        assert states(plane, "1") == ("READY", "READY")
        assert events(plane, max_results=10)[1]["message"] == "Tried again by ann@example.com: ads1-2"
        advance(plane, "READY")
        assert aliases(plane) == {"Staging": "1", "Production": "2"}
        words = refused(post(plane, "restart-compute-config-update"), 400, "INVALID_PARAMETER_VALUE")
        assert words == "Nothing has failed of registered model 'ads1' in Staging or Production"

    def test_an_update_that_failed_is_tried_again_while_the_old_workload_serves(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        old = served(plane)["ads1-1"].id
        compute(plane, "Staging", LARGE)
        reconcile(plane)
        advance(plane, "FAILED", "ads1-1-2")
        failed = served(plane)["ads1-1-2"].id
        done(post(plane, "restart-compute-config-update"))
        assert aliases(plane) == {"Staging": "1"}
        reconcile(plane)
        assert states(plane, "1") == ("READY", "PENDING")
        assert served(plane)["ads1-1"].id == old
        assert served(plane)["ads1-1-2"].id != failed

    def test_before_anything_is_there_nothing_has_failed(self, plane: ControlPlane) -> None:
        enable(plane)
        refused(post(plane, "restart-compute-config-update"), 400, "INVALID_PARAMETER_VALUE")

    def test_without_room_what_serves_goes_on_and_says_so(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(legacy_rows, "MOST_CONCURRENCY", 8)
        serve(plane, v1="Staging", v2="Production")
        assert status(plane)["state_message"] == "Ready"
        compute(plane, "Staging", LARGE)
        reconcile(plane)
        assert (status(plane)["state"], status(plane)["state_message"]) == ("READY", NO_ROOM)
        assert list(served(plane)) == ["ads1-1", "ads1-2"]
        assert states(plane, "1") == ("READY", "UNKNOWN")
        compute(plane, "Staging", SMALL)
        reconcile(plane)
        assert status(plane)["state_message"] == "Ready"
        assert list(served(plane)) == ["ads1-1", "ads1-2"]

    def test_other_endpoints_take_room_too(self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(legacy_rows, "MOST_CONCURRENCY", 4)
        plane.create("other")
        plane.registry.add(MODEL, "1", stage="Staging")
        enable(plane)
        reconcile(plane)
        assert (status(plane)["state"], status(plane)["state_message"]) == ("FAILED", NO_ROOM)
        assert served(plane) == {}
        done(plane.request("DELETE", f"{ENDPOINTS}/other"))
        reconcile(plane)
        assert states(plane, "1") == ("PENDING", "PENDING")
        assert status(plane)["state"] == "PENDING"


class TestTransitions:
    def test_the_answer_is_the_version_as_the_registry_has_it(self, plane: ControlPlane) -> None:
        plane.registry.versions[MODEL, "7"] = ModelVersion(
            MODEL, "7", "READY", "fine", "s3://bucket/x", "run-1", "None", "https://runs/1", "the best",
            "cat@example.com", 100, 200, {"team": "blue", "a": ""}, ("champion", "x"),
        )  # fmt: skip
        assert move(plane, "7", "Staging", comment="try it") == {
            "name": MODEL,
            "version": "7",
            "creation_timestamp": 100,
            "last_updated_timestamp": 200,
            "user_id": "cat@example.com",
            "current_stage": "Staging",
            "description": "the best",
            "source": "s3://bucket/x",
            "run_id": "run-1",
            "run_link": "https://runs/1",
            "status": "READY",
            "status_message": "fine",
            "tags": [{"key": "team", "value": "blue"}, {"key": "a", "value": ""}],
            "aliases": ["champion", "x"],
            "permission_level": "CAN_MANAGE",
        }
        assert plane.registry.versions[MODEL, "7"].stage == "Staging"

    def test_what_the_registry_does_not_say_is_empty(self, plane: ControlPlane) -> None:
        grant(plane, "CAN_MANAGE_STAGING_VERSIONS")
        moved = move(plane, "1", "Staging", BOB)
        assert (moved["permission_level"], moved["user_id"]) == ("CAN_MANAGE_STAGING_VERSIONS", BOB.user_name)
        assert (moved["run_id"], moved["description"], moved["tags"], moved["aliases"]) == ("", "", [], [])

    @pytest.mark.parametrize("stage", MODEL_STAGES)
    def test_every_stage_of_the_registry(self, plane: ControlPlane, stage: str) -> None:
        assert move(plane, "1", stage.lower())["current_stage"] == stage

    @pytest.mark.parametrize("archive", [True, False, None])
    def test_others_are_archived_where_that_is_asked_for(self, plane: ControlPlane, archive: bool | None) -> None:
        plane.registry.add(MODEL, "1", stage="Production")
        plane.registry.add(MODEL, "3", stage="Staging")
        move(plane, "2", "Production", **({} if archive is None else {"archive_existing_versions": archive}))
        found = {version: one.stage for (name, version), one in plane.registry.versions.items() if name == MODEL}
        assert found == {"1": "Archived" if archive else "Production", "2": "Production", "3": "Staging"}

    @pytest.mark.parametrize("stage", ["None", "Archived"])
    def test_nothing_is_archived_for_a_stage_that_is_not_served(self, plane: ControlPlane, stage: str) -> None:
        body = {**MOVE, "stage": stage, "archive_existing_versions": True}
        words = refused(plane.request("POST", TRANSITION, json=body), 400, "INVALID_PARAMETER_VALUE")
        assert "'archive_existing_versions'" in words
        assert plane.registry.versions[MODEL, "2"].stage == ""

    def test_serving_follows_at_once(self, plane: ControlPlane) -> None:
        enable(plane)
        plane.notifier.endpoints.clear()
        move(plane, "1", "Staging", comment="looks good")
        assert plane.notifier.endpoints == [endpoint_id(plane)]
        assert states(plane, "1") == ("UNKNOWN", "UNKNOWN")
        found = [(one["event_type"], one["message"]) for one in events(plane, max_results=2)]
        assert found == [
            ("STAGES_CHANGED", "The registry has version 1 in Staging."),
            ("STAGE_TRANSITION", "Version 1 moved to Staging by ann@example.com: looks good"),
        ]
        move(plane, "1", "None")
        assert done(get(plane, "list-versions")) == {"endpoint_statuses": []}
        assert events(plane)[1]["message"] == "Version 1 moved to None by ann@example.com"

    def test_a_model_that_is_not_served_by_stage_can_be_moved_too(self, plane: ControlPlane) -> None:
        move(plane, "1", "Production")
        assert plane.notifier.endpoints == []

    @pytest.mark.parametrize(("name", "version"), [(MODEL, "9"), ("nosuch", "1")])
    def test_a_version_that_is_not_there(self, plane: ControlPlane, name: str, version: str) -> None:
        body = {"name": name, "version": version, "stage": "Staging"}
        words = refused(plane.request("POST", TRANSITION, ADMIN, json=body), 404, "RESOURCE_DOES_NOT_EXIST")
        assert words == f"Version {version} of registered model '{name}' does not exist"

    def test_nothing_is_moved_without_the_right(self, plane: ControlPlane) -> None:
        grant(plane, "CAN_MANAGE_STAGING_VERSIONS")
        plane.registry.add(MODEL, "1", stage="Production")
        for version, stage in (("2", "Production"), ("1", "Staging"), ("1", "Archived")):
            body = {"name": MODEL, "version": version, "stage": stage}
            refused(plane.request("POST", TRANSITION, BOB, json=body), 403, "PERMISSION_DENIED")
        assert plane.registry.versions[MODEL, "1"].stage == "Production"
        assert plane.registry.versions[MODEL, "2"].stage == ""

    def test_a_registry_that_does_not_answer(self, plane: ControlPlane) -> None:
        plane.registry.failure = TemporarilyUnavailable("The model registry does not answer")
        refused(plane.request("POST", TRANSITION, json=MOVE), 503, "TEMPORARILY_UNAVAILABLE")

    def test_promotion_from_staging_to_production(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        compute(plane, "Production", LARGE)
        reconcile(plane)
        assert list(served(plane)) == ["ads1-1"]
        move(plane, "1", "Production")
        reconcile(plane)
        assert aliases(plane) == {"Production": "1"}
        assert states(plane, "1") == ("READY", "PENDING")
        advance(plane, "READY", "ads1-1-2")
        assert list(served(plane)) == ["ads1-1-2"]
        assert states(plane, "1") == ("READY", "READY")


class TestHistory:
    def test_events_come_in_pages_newest_first(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        for number in range(6):
            plane.clock.now += 1000
            compute(plane, "Staging", SMALL if number % 2 else LARGE)
        everything = done(get(plane, "get-event-history"))
        assert everything.keys() == {"events"}
        found, token = [], None
        for _ in range(20):
            page = done(get(plane, "get-event-history", max_results=3, **({"page_token": token} if token else {})))
            assert 1 <= len(page["events"]) <= 3
            found += page["events"]
            token = page.get("next_page_token")
            if token is None:
                break
        assert found == everything["events"]
        assert [one["timestamp"] for one in found] == sorted((one["timestamp"] for one in found), reverse=True)
        exactly = done(get(plane, "get-event-history", max_results=len(found)))
        assert exactly == everything
        assert done(get(plane, "get-event-history", page_token="1")) == {"events": []}
        assert found[0] == {
            "event_type": "COMPUTE_CONFIG_CHANGED",
            "status": "SUCCESS",
            "message": "Compute configuration of Staging changed by ann@example.com: Small",
            "timestamp": plane.clock.now,
        }

    def test_events_of_one_version(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging", v2="Production")
        compute(plane, "Staging", LARGE)
        reconcile(plane)
        advance(plane, "READY")  # version 1 is now another served entity
        found = events(plane, endpoint_version_name="1")
        assert [one["message"] for one in found] == ["Version 1 answers for Staging."] * 2
        assert {one["endpoint_version_name"] for one in found} == {"1"}
        assert [one["endpoint_version_name"] for one in events(plane, endpoint_version_name="2")] == ["2"]
        switched = [one for one in events(plane) if one["event_type"] == "STAGE_SWITCHED"]
        assert sorted(one["endpoint_version_name"] for one in switched) == ["1", "1", "2"]

    def test_a_stage_that_nothing_answers_for_any_more(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        move(plane, "1", "Archived")
        reconcile(plane)
        assert events(plane)[0]["message"] == "No version is in Staging any more."
        assert "endpoint_version_name" not in events(plane)[0]

    def test_logs_are_those_of_the_version(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging", v2="Production")
        for name, one in served(plane).items():
            plane.data.deployment(one.id).mkdir(parents=True)
            plane.data.build_log(one.id).write_text(f"built {name}\n")
            for age, replica in enumerate(("aaaaaaaaaaaa", "bbbbbbbbbbbb")):
                path = plane.data.replica_log(one.id, replica)
                path.write_text(f"{name} on {replica}\n")
                os.utime(path, (age, age))

        def logs(operation: str, version: str, **fields: Any) -> str:
            answer = done(post(plane, operation, endpoint_version_name=version, **fields))
            assert answer.keys() == {"logs"}
            text: str = answer["logs"]
            return text

        assert logs("get-version-build-logs", "1") == "built ads1-1\n"
        assert logs("get-version-build-logs", "2") == "built ads1-2\n"
        assert logs("get-version-logs", "2") == "[aaaaa] ads1-2 on aaaaaaaaaaaa\n[bbbbb] ads1-2 on bbbbbbbbbbbb\n"
        for replica in ("bbbbbbbbbbbb", "bbbbb"):
            assert logs("get-version-logs", "1", replica_name=replica) == "ads1-1 on bbbbbbbbbbbb\n"
        for replica in ("ccccc", "", "..", "../../secret"):
            answer = post(plane, "get-version-logs", **OF_VERSION, replica_name=replica)
            assert "No log of a replica" in refused(answer, 404, "RESOURCE_DOES_NOT_EXIST")

    def test_logs_before_anything_was_made(self, plane: ControlPlane) -> None:
        plane.registry.add(MODEL, "1", stage="Staging")
        enable(plane)
        for operation in ("get-version-logs", "get-version-build-logs"):
            assert done(post(plane, operation, **OF_VERSION)) == {"logs": ""}
        answer = post(plane, "get-version-logs", **OF_VERSION, replica_name="aaaaa")
        refused(answer, 404, "RESOURCE_DOES_NOT_EXIST")

    def test_the_build_log_is_that_of_the_newest_compute_configuration(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        compute(plane, "Staging", LARGE)
        reconcile(plane)
        for name, one in served(plane).items():
            plane.data.deployment(one.id).mkdir(parents=True)
            plane.data.build_log(one.id).write_text(f"built {name}\n")
        assert done(post(plane, "get-version-build-logs", **OF_VERSION)) == {"logs": "built ads1-1-2\n"}

    def test_replicas_are_those_of_the_version(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging", v2="Production")
        compute(plane, "Staging", LARGE)
        reconcile(plane)
        advance(plane, "STARTING", "ads1-1-2")
        with plane.sessions.begin() as session:
            for number, one in enumerate(served(plane).values()):
                replica = Replica(
                    id=f"replica-{number}", deployment_id=one.id, address="/run/r", pid=100 + number, started_at=1,
                    created_at=plane.clock.now,
                )  # fmt: skip
                session.add(replica)

        def names(version: str) -> list[str]:
            answer = done(get(plane, "get-version-replicas", endpoint_version_name=version))
            return sorted(one["served_entity_name"] for one in answer["replicas"])

        assert (names("1"), names("2")) == (["ads1-1", "ads1-1-2"], ["ads1-2"])

    def test_metrics_are_those_of_the_version(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging", v2="Production")
        answer = done(get(plane, "get-version-metrics", endpoint_version_name="2"))
        assert [one["served_entity_name"] for one in answer["series"]] == ["ads1-2"]
        assert answer["step_seconds"] == 60
        assert len(answer["timestamps"]) in (60, 61)

    def test_the_sizes_that_there_are(self, plane: ControlPlane) -> None:
        assert done(plane.request("GET", f"{V2}/get-supported-workload-sizes", BOB)) == {
            "workload_sizes": [
                {"workload_size_id": "Small", "min_concurrency": 4, "max_concurrency": 4},
                {"workload_size_id": "Medium", "min_concurrency": 8, "max_concurrency": 16},
                {"workload_size_id": "Large", "min_concurrency": 16, "max_concurrency": 64},
            ]
        }


class TestNewerApi:
    def test_the_endpoint_is_shown_as_any_other(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging", v2="Production")
        shown = done(plane.request("GET", f"{ENDPOINTS}/ads1"))
        aliases = [
            {"alias": "Staging", "endpoint_version_name": "1"},
            {"alias": "Production", "endpoint_version_name": "2"},
        ]
        serving = {"registered_model_name": MODEL, "aliases": aliases}
        assert shown["legacy_serving"] == serving
        assert shown["state"]["ready"] == "READY"
        assert shown["state"]["config_update"] == "NOT_UPDATING"
        assert shown["permission_level"] == "CAN_MANAGE"
        assert "pending_config" not in shown
        assert [(one["name"], one["entity_version"]) for one in shown["config"]["served_entities"]] == [
            ("ads1-1", "1"),
            ("ads1-2", "2"),
        ]
        [route] = shown["config"]["traffic_config"]["routes"]
        assert (route["served_entity_name"], route["traffic_percentage"]) == ("ads1-2", 100)
        plane.create("other")
        listed = done(plane.request("GET", ENDPOINTS))["endpoints"]
        assert {one["name"]: one.get("legacy_serving") for one in listed} == {"ads1": serving, "other": None}
        assert "legacy_serving" not in done(plane.request("GET", f"{ENDPOINTS}/other"))

    def test_before_there_is_anything(self, plane: ControlPlane) -> None:
        enable(plane)
        shown = done(plane.request("GET", f"{ENDPOINTS}/ads1"))
        assert shown["legacy_serving"] == {"registered_model_name": MODEL, "aliases": []}
        assert shown["state"]["ready"] == "NOT_READY"
        assert "config" not in shown

    def test_an_update_is_told_as_any_other(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        compute(plane, "Staging", LARGE)
        reconcile(plane)
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1"))["state"]["config_update"] == "IN_PROGRESS"
        advance(plane, "FAILED", "ads1-1-2")
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1"))["state"]["config_update"] == "UPDATE_FAILED"
        advance(plane, "READY", "ads1-1-2")
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1"))["state"]["config_update"] == "NOT_UPDATING"

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("PUT", "config", {"served_entities": [{"entity_name": MODEL, "entity_version": "1",
                                                    "workload_size": "Small"}]}),
            ("POST", "config:cancel", None),
            ("POST", "config:stop", None),
            ("POST", "config:start", None),
            ("POST", "config:rollback", {"config_version": 1}),
        ],
    )  # fmt: skip
    def test_what_it_serves_is_said_by_the_registry_alone(
        self, plane: ControlPlane, method: str, path: str, body: Any
    ) -> None:
        serve(plane, v1="Staging")
        before = done(plane.request("GET", f"{ENDPOINTS}/ads1"))
        words = refused(plane.request(method, f"{ENDPOINTS}/ads1/{path}", json=body), 400, "INVALID_PARAMETER_VALUE")
        assert "'ads1' serves registered model 'ads1' by stage" in words
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1")) == before
        grant(plane, "CAN_MANAGE_PRODUCTION_VERSIONS")
        refused(plane.request(method, f"{ENDPOINTS}/ads1/{path}", BOB, json=body), 403, "PERMISSION_DENIED")

    def test_its_settings_can_be_changed(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        done(plane.request("PATCH", f"{ENDPOINTS}/ads1/tags", json={"add_tags": [{"key": "a", "value": "b"}]}))
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1"))["tags"] == [{"key": "a", "value": "b"}]

    def test_its_name_is_taken(self, plane: ControlPlane) -> None:
        enable(plane)
        body = {"name": "ads1", "config": {"served_entities": [{"entity_name": MODEL, "entity_version": "1"}]}}
        refused(plane.request("POST", ENDPOINTS, json=body), 409, "RESOURCE_ALREADY_EXISTS")


class TestRegistry:
    """What happens to the model in the registry, as the gateways tell it."""

    def tell(self, plane: ControlPlane, method: str, operation: str, query: str = "", **body: str) -> None:
        access: RegistryAccess = plane.client.app.state.registry_access  # type: ignore[attr-defined]
        content = json.dumps(body).encode() if body else b""
        asked = RegistryRequest(principal=ANN, method=method, operation=operation, query=query, body=content)
        ticket = access.decide(asked).ticket
        assert ticket is not None
        assert access.review(ticket, b"{}") == b"{}"

    def renamed(self, plane: ControlPlane, new_name: str) -> None:
        for (name, version), one in list(plane.registry.versions.items()):
            if name == MODEL:
                del plane.registry.versions[name, version]
                plane.registry.versions[new_name, version] = replace(one, name=new_name)
        self.tell(plane, "POST", "registered-models/rename", name=MODEL, new_name=new_name)

    def test_a_renamed_model_goes_on_under_its_new_name(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        before, told = served(plane)["ads1-1"].id, len(plane.notifier.endpoints)
        ads1 = endpoint_id(plane)
        self.renamed(plane, "better")
        assert plane.notifier.endpoints[told:] == [ads1]
        refused(get(plane, "get-status", ADMIN), 404, "RESOURCE_DOES_NOT_EXIST")
        found = status(plane, "better")
        assert (found["registered_model_name"], found["state"], found["endpoint_name"]) == ("better", "READY", "ads1")
        plane.client.app.state.stage_watcher.look("better")  # type: ignore[attr-defined]
        reconcile(plane, "better")
        assert served(plane, "better")["ads1-1"].id == before
        assert done(plane.request("GET", f"{ENDPOINTS}/ads1"))["permission_level"] == "CAN_MANAGE"
        shown = done(plane.request("GET", f"{ENDPOINTS}/ads1"))
        assert shown["legacy_serving"]["registered_model_name"] == "better"
        plane.registry.add("better", "2", stage="Production")
        plane.client.app.state.stage_watcher.look("better")  # type: ignore[attr-defined]
        reconcile(plane, "better")
        assert served(plane, "better")["better-2"].spec["entity_name"] == "better"

    def test_what_served_another_model_of_the_new_name_ends(self, plane: ControlPlane) -> None:
        """That one has left past this server."""
        enable(plane, FRAUD, ADMIN)
        serve(plane, v1="Staging")
        fraud, ads1 = endpoint_id(plane, FRAUD), endpoint_id(plane)
        told = len(plane.notifier.endpoints)
        self.renamed(plane, FRAUD)
        assert endpoint_id(plane, FRAUD) == ads1
        assert status(plane, FRAUD)["endpoint_name"] == "ads1"
        assert sorted(plane.notifier.endpoints[told:]) == sorted([ads1, fraud])
        with reading(plane.sessions) as session:
            assert session.get_one(Endpoint, fraud).deleting
            assert not session.get_one(Endpoint, ads1).deleting

    def test_a_rename_to_the_same_name_changes_nothing(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        before = status(plane)
        self.tell(plane, "POST", "registered-models/rename", name=MODEL, new_name=MODEL)
        assert status(plane) == before

    def test_a_rename_of_a_model_that_is_not_served(self, plane: ControlPlane) -> None:
        self.renamed(plane, "better")
        assert plane.notifier.endpoints == []

    def test_a_deleted_model_is_nobodys_to_query(self, plane: ControlPlane) -> None:
        serve(plane, v1="Staging")
        told = len(plane.notifier.endpoints)
        for key in [key for key in plane.registry.versions if key[0] == MODEL]:
            del plane.registry.versions[key]
        self.tell(plane, "DELETE", "registered-models/delete", query=f"name={MODEL}")
        assert plane.notifier.endpoints[told:] == [endpoint_id(plane)]
        reconcile(plane)
        assert served(plane) == {}
        found = status(plane)
        assert (found["state"], found["state_message"]) == (
            "FAILED",
            "Registered model 'ads1' is no longer in the registry.",
        )

    @pytest.mark.parametrize("deleted_first", [True, False])
    def test_a_new_model_of_that_name_is_not_served(self, plane: ControlPlane, deleted_first: bool) -> None:
        """Nobody has enabled it; the old one may have left past this server."""
        serve(plane, v1="Staging")
        grant(plane, "CAN_MANAGE")
        old = endpoint_id(plane)
        if deleted_first:
            self.tell(plane, "DELETE", "registered-models/delete", query=f"name={MODEL}")
        self.tell(plane, "POST", "registered-models/create", name=MODEL)
        assert plane.notifier.endpoints[-1] == old
        refused(get(plane, "get-status"), 404, "RESOURCE_DOES_NOT_EXIST")
        refused(get(plane, "get-status", BOB), 403, "PERMISSION_DENIED")
        assert plane.request("GET", f"{ENDPOINTS}/ads1").status_code == 404
        with reading(plane.sessions) as session:
            assert session.get_one(Endpoint, old).deleting
        assert enable(plane) == MODEL
        reconcile(plane)
        assert states(plane, "1") == ("PENDING", "PENDING")


class TestRouting:
    """Whoever reads that something is ready may query it: gateways work by it then."""

    @pytest.fixture
    def route(self, plane: ControlPlane) -> EndpointRoute:
        """What gateways are told when version 1 answers for Staging."""
        serve(plane, v1="Staging")
        made = EndpointRoute(
            name="ads1",
            id=endpoint_id(plane),
            availability=Availability.SERVING,
            served=(ServedRoute(name="ads1-1", traffic_percentage=100),),
            legacy=LegacyRoute(model=MODEL, aliases={"1": "ads1-1", "Staging": "ads1-1"}),
        )
        plane.routes["ads1"] = made
        plane.notifier.routed.clear()
        return made

    def read(self, plane: ControlPlane) -> list[str]:
        """The endpoints whose route was waited for."""
        for operation, params in GETS.items():
            done(plane.request("GET", f"{V2}/{operation}", params=params))
        done(plane.request("GET", f"{V2}/list"))
        waited, plane.notifier.routed = plane.notifier.routed, []
        return waited

    def test_nothing_is_waited_for_when_gateways_know(self, plane: ControlPlane, route: EndpointRoute) -> None:
        assert self.read(plane) == []

    def test_what_gateways_do_not_know_yet_is_waited_for(self, plane: ControlPlane, route: EndpointRoute) -> None:
        coming = ServedRoute(name="ads1-1", traffic_percentage=100, not_ready="It is being created.")
        elsewhere = LegacyRoute(model=MODEL, aliases={"1": "ads1-1", "Staging": "ads1-0"})
        changes: list[dict[str, Any]] = [
            {"served": (coming,)},
            {"served": ()},
            {"legacy": elsewhere},
            {"legacy": None},
        ]
        for change in changes:
            plane.routes["ads1"] = route.model_copy(update=change)
            waited = self.read(plane)
            assert set(waited) == {route.id}
            assert len(waited) >= 5

    def test_what_is_not_up_is_waited_for_by_nobody(self, plane: ControlPlane, route: EndpointRoute) -> None:
        advance(plane, "FAILED")
        coming = ServedRoute(name="ads1-1", traffic_percentage=100, not_ready="boom")
        plane.routes["ads1"] = route.model_copy(update={"served": (coming,)})
        assert self.read(plane) == []

    def test_the_route_of_another_endpoint_says_nothing(self, plane: ControlPlane, route: EndpointRoute) -> None:
        plane.routes["ads1"] = route.model_copy(update={"id": "of-before", "served": ()})
        assert self.read(plane) == []
