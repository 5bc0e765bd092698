"""Registered models in Unity Catalog as databricks-sdk asks for them, on a real MLflow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from catalog_clients import workspace_client
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    BadRequest,
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from databricks.sdk.service.catalog import ModelVersionInfoStatus, RegisteredModelAlias
from mlflow_in_process import mlflow_api, mlflow_folder

from moorage.api.routing import Principal
from moorage.control.store import permissions
from moorage.control.store.models import User
from moorage.control.store.permissions import ObjectType

U2 = "/api/2.1/unity-catalog"
MODELS = f"{U2}/models"
STORAGE = "dbfs:/databricks/mlflow-tracking/registered-models"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    artifacts = mlflow_folder() / "artifacts"
    with control_plane(tmp_path_factory.mktemp("plane"), mlflow=mlflow_api(), artifacts=artifacts) as plane:
        yield plane


@pytest.fixture
def ann(plane: ControlPlane) -> WorkspaceClient:
    return workspace_client(plane, ANN)


@pytest.fixture
def bob(plane: ControlPlane) -> WorkspaceClient:
    return workspace_client(plane, BOB)


@pytest.fixture
def schema() -> str:
    """Of a schema of the catalog `main` that nobody has used."""
    return f"schema{next(_numbers)}"


@pytest.fixture
def model(ann: WorkspaceClient, schema: str) -> str:
    """The full name of a model of Ann's."""
    made = ann.registered_models.create(catalog_name="main", schema_name=schema, name="ads", comment="of ads")
    return str(made.full_name)


def add_version(plane: ControlPlane, full_name: str, caller: Principal = ANN, **fields: Any) -> dict[str, Any]:
    """As MLflow's client makes one when it is told to use these routes alone."""
    catalog, schema, model = full_name.split(".")
    names = {"catalog_name": catalog, "schema_name": schema, "model_name": model}
    response = plane.request("POST", f"{MODELS}/versions", caller, json={**names, "source": "s", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(response: Any, status: int, code: str) -> str:
    assert (response.status_code, response.json()["error_code"]) == (status, code), response.text
    return str(response.json()["message"])


class TestModels:
    def test_a_model_is_made_read_and_deleted(self, ann: WorkspaceClient, schema: str) -> None:
        made = ann.registered_models.create(
            catalog_name="main", schema_name=schema, name="ads", comment="of ads", storage_location=f"{STORAGE}/"
        )
        full_name = f"main.{schema}.ads"
        assert made.created_at
        assert made.as_dict() == {
            "name": "ads",
            "catalog_name": "main",
            "schema_name": schema,
            "full_name": full_name,
            "comment": "of ads",
            "owner": ANN.user_name,
            "created_at": made.created_at,
            "created_by": ANN.user_name,
            "updated_at": made.created_at,
            "storage_location": STORAGE,
            "browse_only": False,
        }
        assert ann.registered_models.get(full_name) == made
        ann.registered_models.delete(full_name)
        with pytest.raises(ResourceDoesNotExist, match=full_name):
            ann.registered_models.get(full_name)
        with pytest.raises(NotFound):
            ann.registered_models.delete(full_name)

    def test_a_name_is_given_once(self, ann: WorkspaceClient, bob: WorkspaceClient, model: str, schema: str) -> None:
        for client in (ann, bob):
            with pytest.raises(ResourceAlreadyExists, match=model):
                client.registered_models.create(catalog_name="main", schema_name=schema, name="ads")

    @pytest.mark.parametrize("missing", ["catalog_name", "schema_name", "name"])
    def test_every_part_of_the_name_is_needed(self, plane: ControlPlane, missing: str) -> None:
        parts = {"catalog_name": "a", "schema_name": "b", "name": "c"}
        for value, word in ((None, "Missing required field"), ("", "Invalid value"), ("x.y", "Invalid value")):
            response = plane.request("POST", MODELS, json={**parts, missing: value})
            message = refused(response, 400, "INVALID_PARAMETER_VALUE")
            assert message.startswith(f"{word} ")
            assert f"'{missing}'" in message
        for value in ("a b", "a/b", "x" * 256, "a\x00"):
            response = plane.request("POST", MODELS, json={**parts, missing: value})
            assert f"'{missing}'" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_a_name_is_bounded_as_a_whole(self, plane: ControlPlane) -> None:
        parts = {"catalog_name": "a" * 100, "schema_name": "b" * 100, "name": "c" * 100}
        response = plane.request("POST", MODELS, json=parts)
        assert "at most 255 characters" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    @pytest.mark.parametrize("bad", ["ads", "main.ads", "a.b.c.d", "a..c"])
    def test_a_path_has_three_levels(self, plane: ControlPlane, bad: str) -> None:
        for path in (bad, f"{bad}/versions", f"{bad}/versions/1", f"{bad}/aliases/x"):
            message = refused(plane.request("GET", f"{MODELS}/{path}"), 400, "INVALID_PARAMETER_VALUE")
            assert "'full_name'" in message
            assert "specify all three levels" in message

    def test_another_place_for_the_files_is_refused(self, plane: ControlPlane, schema: str) -> None:
        parts = {"catalog_name": "main", "schema_name": schema, "name": "c", "storage_location": "s3://bucket/x"}
        response = plane.request("POST", MODELS, json=parts)
        assert "'storage_location'" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_the_comment_changes_and_the_rest_is_ignored(self, ann: WorkspaceClient, model: str) -> None:
        changed = ann.registered_models.update(
            model, comment="new", created_by="somebody", name="other", storage_location="s3://b", browse_only=True,
            aliases=[RegisteredModelAlias(alias_name="x", version_num=1)],
        )  # fmt: skip
        assert (changed.comment, changed.full_name, changed.owner) == ("new", model, ANN.user_name)
        assert ann.registered_models.update(model).comment == "new"
        assert ann.registered_models.get(model).comment == "new"

    def test_a_rename_within_the_schema(self, plane: ControlPlane, ann: WorkspaceClient, model: str) -> None:
        add_version(plane, model)
        ann.registered_models.set_alias(model, "champion", 1)
        new_name = model.replace(".ads", ".clicks")
        renamed = ann.registered_models.update(model, new_name="clicks", comment="c")
        assert (renamed.full_name, renamed.name, renamed.owner) == (new_name, "clicks", ANN.user_name)
        assert renamed.comment == "c"
        assert ann.model_versions.get_by_alias(new_name, "champion").version == 1
        with pytest.raises(NotFound):
            ann.registered_models.get(model)
        back = ann.registered_models.update(new_name, new_name=model)  # as MLflow's client may write it
        assert back.full_name == model
        for bad in ("a b", "a.b", "", "x/y"):
            with pytest.raises(InvalidParameterValue, match="new_name"):
                ann.registered_models.update(model, new_name=bad)

    def test_a_rename_onto_another_model(self, ann: WorkspaceClient, model: str, schema: str) -> None:
        ann.registered_models.create(catalog_name="main", schema_name=schema, name="other")
        with pytest.raises(ResourceAlreadyExists, match="already exists"):
            ann.registered_models.update(model, new_name="other")
        assert ann.registered_models.get(model).comment == "of ads"

    def test_the_owner_changes(
        self, plane: ControlPlane, ann: WorkspaceClient, bob: WorkspaceClient, model: str
    ) -> None:
        with pytest.raises(InvalidParameterValue, match="is neither the name of a user"):
            ann.registered_models.update(model, owner="nobody@example.com")
        assert ann.registered_models.get(model).owner == ANN.user_name
        with pytest.raises(PermissionDenied):
            bob.registered_models.update(model, owner=BOB.user_name)
        changed = ann.registered_models.update(model, owner=BOB.user_name.upper())
        assert (changed.owner, changed.created_by) == (BOB.user_name, ANN.user_name)
        with pytest.raises(PermissionDenied):
            ann.registered_models.get(model)
        bob.registered_models.update(model, comment="mine")
        application = "0f3a5c3e-7d1e-4f57-9d65-9f0d3ac1d8a1"
        with plane.sessions.begin() as session:
            robot = User(id=f"77{next(_numbers)}", user_name=application, kind="service_principal", created_at=1)
            session.add(robot)
        assert bob.registered_models.update(model, owner=application).owner == application

    def test_a_model_whose_maker_nobody_saw_has_no_owner(self, ann: WorkspaceClient, schema: str) -> None:
        full_name = f"main.{schema}.older"
        mlflow_api().call("POST", "registered-models/create", {"name": full_name})
        found = ann.registered_models.get(full_name)
        assert (found.owner, found.created_by, found.comment) == (None, None, "")

    def test_the_models_of_a_schema(
        self, plane: ControlPlane, ann: WorkspaceClient, bob: WorkspaceClient, schema: str
    ) -> None:
        names = {f"m{number}" for number in range(5)}
        for name in names:
            ann.registered_models.create(catalog_name="main", schema_name=schema, name=name)
        bob.registered_models.create(catalog_name="main", schema_name=schema, name="bobs")
        # What LIKE could take for one of them.
        for other in (f"main.{schema}x.m0", f"MAIN.{schema}.m0", f"mai_.{schema}.m0", f"%.{schema}.m0"):
            catalog, other_schema, name = other.split(".")
            ann.registered_models.create(catalog_name=catalog, schema_name=other_schema, name=name)
        listed = list(ann.registered_models.list(catalog_name="main", schema_name=schema, max_results=2))
        assert {one.full_name for one in listed} == {f"main.{schema}.{name}" for name in names}
        assert len(listed) == 5
        assert {one.owner for one in listed} == {ANN.user_name}
        for catalog in ("mai_", "%", "MAIN"):
            found = [one.full_name for one in ann.registered_models.list(catalog_name=catalog, schema_name=schema)]
            assert found == [f"{catalog}.{schema}.m0"]
        everything = {one.full_name for one in ann.registered_models.list(max_results=3)}
        assert everything >= {f"main.{schema}.{name}" for name in names}
        assert f"main.{schema}.bobs" not in everything
        assert not list(ann.registered_models.list(catalog_name="main", schema_name=f"{schema}-nosuch"))
        admin = workspace_client(plane, ADMIN)
        assert f"main.{schema}.bobs" in {one.full_name for one in admin.registered_models.list()}

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"catalog_name": "a"}, "schema_name"), ({"schema_name": "a"}, "catalog_name"),
            ({"max_results": -1}, "max_results"), ({"page_token": "x"}, "page_token"),
            ({"catalog_name": "a.b", "schema_name": "c"}, "catalog_name"),
        ],
    )  # fmt: skip
    def test_what_a_list_is_asked_for_must_make_sense(
        self, plane: ControlPlane, given: dict[str, Any], field: str
    ) -> None:
        response = plane.request("GET", MODELS, params=given)
        assert f"'{field}'" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_quotes_of_both_kinds_are_no_name(self, plane: ControlPlane) -> None:
        response = plane.request("GET", MODELS, params={"catalog_name": "a'", "schema_name": 'b"'})
        assert "quotes" in refused(response, 400, "INVALID_PARAMETER_VALUE")


class TestAliases:
    def test_an_alias_is_set_moved_and_deleted(self, plane: ControlPlane, ann: WorkspaceClient, model: str) -> None:
        for _ in range(2):
            add_version(plane, model)
        catalog, schema, name = model.split(".")
        first = ann.registered_models.set_alias(model, "champion", 1)
        parts = {"model_name": name, "catalog_name": catalog, "schema_name": schema}
        assert first.as_dict() == {"alias_name": "champion", "version_num": 1, **parts}
        assert ann.registered_models.set_alias(model, "champion", 2).version_num == 2
        assert not ann.registered_models.get(model).aliases
        found = ann.registered_models.get(model, include_aliases=True).aliases
        assert found is not None
        assert [one.as_dict() for one in found] == [{"alias_name": "champion", "version_num": 2, **parts}]
        assert not ann.model_versions.get(model, 2).aliases
        aliases = ann.model_versions.get(model, 2, include_aliases=True).aliases
        assert aliases == found
        by_alias = ann.model_versions.get_by_alias(model, "champion", include_aliases=True)
        assert (by_alias.version, by_alias.aliases) == (2, found)
        ann.registered_models.delete_alias(model, "champion")
        for ask in (ann.registered_models.delete_alias, ann.model_versions.get_by_alias):
            with pytest.raises(ResourceDoesNotExist, match="champion"):
                ask(model, "champion")

    def test_an_alias_of_nothing(self, plane: ControlPlane, ann: WorkspaceClient, model: str) -> None:
        with pytest.raises(ResourceDoesNotExist):
            ann.registered_models.set_alias(model, "champion", 7)
        add_version(plane, model)
        for bad in ("latest", "v1", "a b"):
            with pytest.raises(InvalidParameterValue):
                ann.registered_models.set_alias(model, bad, 1)
        for body in ({}, {"version_num": 0}, {"version_num": -1}):
            response = plane.request("PUT", f"{MODELS}/{model}/aliases/x", json=body)
            assert "'version_num'" in refused(response, 400, "INVALID_PARAMETER_VALUE")
        for body in ({"version_num": True}, {"version_num": "x"}):
            response = plane.request("PUT", f"{MODELS}/{model}/aliases/x", json=body)
            assert "'version_num'" in refused(response, 400, "BAD_REQUEST")


class TestVersions:
    def test_a_version_waits_and_is_ready(self, plane: ControlPlane, ann: WorkspaceClient, model: str) -> None:
        tags = [{"key": "k", "value": "v"}]
        made = add_version(
            plane, model, source="dbfs:/x", run_id="r", comment="c", tags=tags, model_id="m-1",
            run_tracking_server_id="4711",
        )  # fmt: skip
        assert made["tags"] == tags
        assert made["model_id"] == "m-1"
        found = ann.model_versions.get(model, 1)
        catalog, schema, name = model.split(".")
        assert found.as_dict() == {
            "model_name": name,
            "catalog_name": catalog,
            "schema_name": schema,
            "version": 1,
            "source": "dbfs:/x",
            "comment": "c",
            "run_id": "r",
            "run_workspace_id": 4711,
            "status": "PENDING_REGISTRATION",
            "storage_location": f"{STORAGE}/logged_models/{made['id']}/artifacts",
            "created_at": made["created_at"],
            "created_by": ANN.user_name,
            "updated_at": made["updated_at"],
            "id": made["id"],
        }
        finalized = plane.request("PATCH", f"{MODELS}/{model}/versions/1/finalize", json={})
        assert finalized.json()["status"] == "READY"
        assert ann.model_versions.get(model, 1).status == ModelVersionInfoStatus.READY
        path = "/api/2.0/mlflow/unity-catalog/model-versions/get"
        same = plane.request("GET", path, params={"name": model, "version": 1})
        assert same.json()["model_version"]["status"] == "READY"

    def test_versions_are_listed_newest_first(self, plane: ControlPlane, ann: WorkspaceClient, model: str) -> None:
        assert list(ann.model_versions.list(model)) == []
        for _ in range(5):
            add_version(plane, model)
        ann.model_versions.update(model, 2, comment="changed last")
        listed = list(ann.model_versions.list(model, max_results=2))
        assert [one.version for one in listed] == [5, 4, 3, 2, 1]
        assert not [one for one in listed if one.aliases or not one.storage_location]
        with pytest.raises(ResourceDoesNotExist):
            list(ann.model_versions.list(f"{model}-nosuch"))

    def test_only_the_comment_changes(self, plane: ControlPlane, ann: WorkspaceClient, model: str) -> None:
        add_version(plane, model, comment="old")
        changed = ann.model_versions.update(
            model, 1, comment="new", source="other", status=ModelVersionInfoStatus.READY, run_id="x",
            aliases=[RegisteredModelAlias(alias_name="a", version_num=1)], storage_location="s3://x",
        )  # fmt: skip
        assert (changed.comment, changed.source, changed.run_id) == ("new", "s", None)
        assert changed.status == ModelVersionInfoStatus.PENDING_REGISTRATION
        assert ann.model_versions.update(model, 1).comment == "new"

    def test_a_version_goes_with_its_files(self, plane: ControlPlane, ann: WorkspaceClient, model: str) -> None:
        made = add_version(plane, model)
        folder: Path = mlflow_folder() / "artifacts" / "registered-models" / "models" / made["id"]
        (folder / "artifacts").mkdir(parents=True)
        ann.model_versions.delete(model, 1)
        assert not folder.exists()
        for ask in (ann.model_versions.get, ann.model_versions.delete, ann.model_versions.update):
            with pytest.raises(ResourceDoesNotExist):
                ask(model, 1)

    @pytest.mark.parametrize("version", ["0", "-1", "9999999999"])
    def test_a_version_is_a_number(self, plane: ControlPlane, model: str, version: str) -> None:
        for method in ("GET", "DELETE"):
            response = plane.request(method, f"{MODELS}/{model}/versions/{version}")
            assert "'version'" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_a_version_that_is_no_number(self, ann: WorkspaceClient, model: str) -> None:
        with pytest.raises(BadRequest, match="'version'"):
            ann.model_versions.get(model, "latest")  # type: ignore[arg-type]


class TestTags:
    def test_tags_of_models_and_versions(self, plane: ControlPlane, model: str) -> None:
        add_version(plane, model)
        for path, shown in (
            (f"securable-tags/FUNCTION/{model}", f"{MODELS}/{model}"),
            (f"subentity-tags/FUNCTION/{model}/1", f"{MODELS}/{model}/versions/1"),
        ):
            tags = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
            response = plane.request("PATCH", f"{U2}/{path}", json={"changes": {"add_tags": tags}})
            assert (response.status_code, response.json()) == (200, {})
            assert sorted(plane.request("GET", shown).json()["tags"], key=str) == tags
            changes = {"changes": {"add_tags": [{"key": "b", "value": "3"}], "remove": ["a"]}}
            assert plane.request("PATCH", f"{U2}/{path}", json=changes).status_code == 200
            assert plane.request("GET", shown).json()["tags"] == [{"key": "b", "value": "3"}]
            hidden = {"changes": {"remove": ["moorage.user"]}}
            response = plane.request("PATCH", f"{U2}/{path}", json=hidden)
            assert "'changes.remove[0]'" in refused(response, 400, "INVALID_PARAMETER_VALUE")
            refused(plane.request("PATCH", f"{U2}/{path}", BOB, json=changes), 403, "PERMISSION_DENIED")
            response = plane.request("PATCH", f"{U2}/{path}".replace("FUNCTION", "TABLE"), json=changes)
            assert "'securable_type'" in refused(response, 400, "INVALID_PARAMETER_VALUE")


def test_no_credentials_are_given_out(plane: ControlPlane) -> None:
    body = {"catalog_name": "a", "schema_name": "b", "model_name": "c", "version": 1}
    response = plane.request("POST", f"{U2}/temporary-model-version-credentials", json=body)
    assert "Files API" in refused(response, 501, "NOT_IMPLEMENTED")


LEVELS = [None, "CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE"]
OPERATIONS: list[tuple[str, Callable[[WorkspaceClient, str], object]]] = [
    ("CAN_READ", lambda client, model: client.registered_models.get(model)),
    ("CAN_READ", lambda client, model: list(client.model_versions.list(model))),
    ("CAN_READ", lambda client, model: client.model_versions.get(model, 1)),
    ("CAN_READ", lambda client, model: client.model_versions.get_by_alias(model, "a")),
    ("CAN_EDIT", lambda client, model: client.registered_models.update(model, comment="c")),
    ("CAN_EDIT", lambda client, model: client.model_versions.update(model, 1, comment="c")),
    ("CAN_EDIT", lambda client, model: client.api_client.do("PATCH", f"{MODELS}/{model}/versions/1/finalize")),
    ("CAN_MANAGE_PRODUCTION_VERSIONS", lambda client, model: client.registered_models.set_alias(model, "b", 1)),
    ("CAN_MANAGE_PRODUCTION_VERSIONS", lambda client, model: client.registered_models.delete_alias(model, "b")),
    ("CAN_MANAGE", lambda client, model: client.model_versions.delete(model, 1)),
    ("CAN_MANAGE", lambda client, model: client.registered_models.update(model, owner=ANN.user_name)),
    ("CAN_MANAGE", lambda client, model: client.registered_models.update(model, new_name="another")),
]


@pytest.mark.parametrize("level", LEVELS)
def test_each_operation_has_its_level(
    plane: ControlPlane, bob: WorkspaceClient, model: str, ann: WorkspaceClient, level: str | None
) -> None:
    add_version(plane, model)
    ann.registered_models.set_alias(model, "a", 1)
    if level is not None:
        with plane.sessions.begin() as session:
            permissions.grant(session, ObjectType.REGISTERED_MODEL, model, BOB.id, level)
    for needed, operation in OPERATIONS:
        if LEVELS.index(level) >= LEVELS.index(needed):
            operation(bob, model)
        else:
            with pytest.raises(PermissionDenied, match=f"does not have {needed} permission"):
                operation(bob, model)


def test_a_schema_says_who_may_make_models_in_it(
    plane: ControlPlane, ann: WorkspaceClient, bob: WorkspaceClient, model: str, schema: str
) -> None:
    changes = {"changes": [{"principal": BOB.user_name, "add": ["CREATE_MODEL"]}]}
    closed = f"{schema}-closed"
    granted = plane.request("PATCH", f"{U2}/permissions/schema/main.{closed}", ADMIN, json=changes)
    assert granted.status_code == 200, granted.text
    with pytest.raises(PermissionDenied, match="CREATE_MODEL"):
        ann.registered_models.create(catalog_name="main", schema_name=closed, name="a")
    with pytest.raises(PermissionDenied, match="CREATE_MODEL"):
        ann.registered_models.update(model, new_name=f"main.{closed}.a")
    assert ann.registered_models.get(model).full_name == model
    bob.registered_models.create(catalog_name="main", schema_name=closed, name="a")


def test_the_audit_log_says_what_was_done_with_which_model(
    plane: ControlPlane, ann: WorkspaceClient, model: str, schema: str
) -> None:
    add_version(plane, model)
    ann.registered_models.set_alias(model, "champion", 1)
    ann.registered_models.update(model, owner=ANN.user_name)
    lineage = plane.request("POST", "/api/2.0/mlflow/unity-catalog/model-versions/emit-lineage", json={})
    assert lineage.status_code == 200
    entries = plane.request("GET", "/api/2.0/audit-log", ADMIN).json()["entries"][:4]
    assert [(entry["action"], entry["object_type"]) for entry in reversed(entries)] == [
        ("create_registered_model", "registered_models"),
        ("create_model_version", "registered_models"),
        ("set_registered_model_alias", "registered_models"),
        ("update_registered_model", "registered_models"),
    ]
    updated, aliased, versioned, created = (entry["details"] for entry in entries)
    names = {"catalog_name": "main", "schema_name": schema}
    assert created == {"name": "ads", **names, "comment": "of ads"}
    assert versioned == {"model_name": "ads", **names}
    assert aliased == {"full_name": model, "alias": "champion", "version_num": "1"}
    assert updated == {"full_name": model, "owner": ANN.user_name}
