"""The workspace model registry through the unmodified Databricks SDK, every method of `model_registry`."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.service import ml
from databricks.sdk.service.ml import ModelRegistryAPI, RegisteredModelPermissionLevel
from server import OTHER_TOKEN, OTHER_USER, Server

SERVED_BY_STAGE = "/api/2.0/preview/mlflow/endpoints-v2"
READ, EDIT = RegisteredModelPermissionLevel.CAN_READ, RegisteredModelPermissionLevel.CAN_EDIT
STAGING_MANAGER = RegisteredModelPermissionLevel.CAN_MANAGE_STAGING_VERSIONS
_numbers = itertools.count()


@pytest.fixture(scope="module")
def admin(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture(scope="module")
def me(admin: WorkspaceClient) -> str:
    return str(admin.current_user.me().user_name)


@pytest.fixture(scope="module")
def registry(admin: WorkspaceClient) -> ModelRegistryAPI:
    return admin.model_registry


@pytest.fixture(scope="module")
def other(server: Server) -> ModelRegistryAPI:
    return WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat").model_registry


@pytest.fixture(scope="module")
def run(server: Server, registered: Callable[[str], Any]) -> str:
    """The id of a run that has logged a model, at `model`."""
    iris = registered("iris")
    asked = {"name": iris.name, "version": iris.version}
    found = server.http.get("/api/2.0/mlflow/model-versions/get", params=asked).json()
    return str(found["model_version"]["run_id"])


@pytest.fixture
def model(registry: ModelRegistryAPI, run: str) -> Iterator[str]:
    """A model with two versions."""
    name = f"workspace-model-{next(_numbers)}"
    registry.create_model(name)
    for _ in range(2):
        registry.create_model_version(name, f"runs:/{run}/model", run_id=run)
    yield name
    try:
        registry.delete_model(name)
    except sdk_errors.NotFound:
        pass  # the test has deleted or renamed it


def share(registry: ModelRegistryAPI, model: str, level: RegisteredModelPermissionLevel) -> None:
    entry = ml.RegisteredModelAccessControlRequest(user_name=OTHER_USER, permission_level=level)
    registry.update_permissions(model, access_control_list=[entry])


def is_now(timestamp: int | None) -> bool:
    """Whether it is milliseconds since the epoch, of the last minute."""
    return timestamp is not None and 0 <= time.time() * 1000 - timestamp + 1000 < 60_000


def stages(registry: ModelRegistryAPI, model: str) -> dict[str | None, str | None]:
    return {one.version: one.current_stage for one in registry.search_model_versions(filter=f"name='{model}'")}


def the(found: Any) -> Any:
    """What a field that is optional to the SDK must have."""
    assert found is not None
    return found


def test_no_method_is_left_out() -> None:
    methods = [name for name, _ in inspect.getmembers(ModelRegistryAPI, inspect.isfunction) if name[0] != "_"]
    here = Path(__file__).read_text()
    assert len(methods) >= 36
    assert [name for name in methods if f".{name}(" not in here] == []


def test_a_model_is_made_found_and_described(registry: ModelRegistryAPI, me: str) -> None:
    name = f"workspace-model-{next(_numbers)}"
    tags = [ml.ModelTag("team", "ads"), ml.ModelTag("tier", "1")]
    made = the(registry.create_model(name, description="what it does", tags=tags).registered_model)
    assert (made.name, made.description, made.tags) == (name, "what it does", tags)
    assert is_now(made.creation_timestamp)
    assert is_now(made.last_updated_timestamp)
    with pytest.raises(sdk_errors.ResourceAlreadyExists):
        registry.create_model(name)

    found = the(registry.get_model(name).registered_model_databricks)
    assert (found.name, found.description, found.user_id) == (name, "what it does", me)
    assert found.permission_level is ml.PermissionLevel.CAN_MANAGE
    assert sorted((one.key, one.value) for one in the(found.tags)) == [("team", "ads"), ("tier", "1")]
    assert (found.creation_timestamp, found.latest_versions) == (made.creation_timestamp, [])

    changed = the(registry.update_model(name, description="other words").registered_model)
    assert (changed.name, changed.description) == (name, "other words")
    registry.set_model_tag(name, "tier", "2")
    registry.delete_model_tag(name, "team")
    found = the(registry.get_model(name).registered_model_databricks)
    assert (found.description, found.tags) == ("other words", [ml.ModelTag("tier", "2")])

    registry.delete_model(name)
    for missing in (lambda: registry.get_model(name), lambda: registry.delete_model(name)):
        with pytest.raises(sdk_errors.NotFound):
            missing()


def test_a_version_is_made_found_and_described(registry: ModelRegistryAPI, model: str, run: str) -> None:
    made = the(
        registry.create_model_version(
            model,
            f"runs:/{run}/model",
            run_id=run,
            run_link="https://example.com/run",
            description="the third",
            tags=[ml.ModelVersionTag("checked", "no")],
        ).model_version
    )
    assert (made.name, made.version, made.status) == (model, "3", ml.ModelVersionStatus.READY)
    found = the(registry.get_model_version(model, "3").model_version)
    assert found == made
    assert (found.source, found.run_id, found.run_link) == (f"runs:/{run}/model", run, "https://example.com/run")
    assert (found.description, found.current_stage) == ("the third", "None")
    assert found.tags == [ml.ModelVersionTag("checked", "no")]
    assert is_now(found.creation_timestamp)
    assert registry.get_model_version_download_uri(model, "3").artifact_uri

    changed = the(registry.update_model_version(model, "3", description="other words").model_version)
    assert (changed.version, changed.description) == ("3", "other words")
    registry.set_model_version_tag(model, "3", "checked", "yes")
    registry.set_model_version_tag(model, "3", "by", "me")
    registry.delete_model_version_tag(model, "3", "by")
    found = the(registry.get_model_version(model, "3").model_version)
    assert (found.description, found.tags) == ("other words", [ml.ModelVersionTag("checked", "yes")])

    registry.delete_model_version(model, "3")
    with pytest.raises(sdk_errors.NotFound):
        registry.get_model_version(model, "3")
    assert stages(registry, model) == {"1": "None", "2": "None"}


def test_a_version_of_a_run_is_where_databricks_clients_look_for_it(
    registry: ModelRegistryAPI, server: Server, model: str, run: str
) -> None:
    info = server.http.get("/api/2.0/mlflow/runs/get", params={"run_id": run}).json()["run"]["info"]
    source = f"dbfs:/databricks/mlflow-tracking/{info['experiment_id']}/{run}/artifacts/model"
    made = the(registry.create_model_version(model, source, run_id=run).model_version)
    assert made.source == source
    assert registry.get_model_version_download_uri(model, the(made.version)).artifact_uri == source
    (latest,) = the(the(registry.get_model(model).registered_model_databricks).latest_versions)
    assert (latest.version, latest.source, latest.status) == ("3", source, ml.ModelVersionStatus.READY)


def test_models_are_listed_and_searched(
    registry: ModelRegistryAPI, other: ModelRegistryAPI, model: str
) -> None:
    registry.set_model_tag(model, "team", "ads")
    for listed in (registry.list_models(max_results=1), registry.list_models(), registry.search_models()):
        (found,) = [one for one in listed if one.name == model]
        assert found.tags == [ml.ModelTag("team", "ads")]
        assert [one.version for one in the(found.latest_versions)] == ["2"]
        assert is_now(found.creation_timestamp)
    searched = registry.search_models(filter=f"name LIKE '{model}%'", max_results=1, order_by=["name ASC"])
    assert [one.name for one in searched] == [model]
    (version,) = registry.search_model_versions(
        filter=f"name='{model}' and version_number > 1", max_results=1, order_by=["version_number DESC"]
    )
    assert version == registry.get_model_version(model, "2").model_version
    every = registry.search_model_versions(filter=f"name='{model}'", max_results=1)
    assert sorted(str(one.version) for one in every) == ["1", "2"]

    assert model not in [one.name for one in other.list_models(max_results=2)]
    assert model not in [one.name for one in other.search_models()]
    share(registry, model, READ)
    assert model in [one.name for one in other.list_models(max_results=2)]
    assert model in [one.name for one in other.search_models()]


def test_a_model_is_renamed(registry: ModelRegistryAPI, model: str, me: str) -> None:
    said = the(registry.create_comment(model, "1", "looks good").comment)
    registry.create_transition_request(model, "1", "Staging")
    renamed = the(registry.rename_model(model, new_name=f"{model}-new").registered_model)
    assert renamed.name == f"{model}-new"
    with pytest.raises(sdk_errors.NotFound):
        registry.get_model(model)
    found = the(registry.get_model(renamed.name).registered_model_databricks)
    assert (found.id, found.user_id) == (renamed.name, me)
    assert len(list(registry.list_transition_requests(renamed.name, "1"))) == 1
    assert the(registry.update_comment(the(said.id), "looks bad").comment).comment == "looks bad"
    registry.delete_model(renamed.name)
    with pytest.raises(sdk_errors.NotFound):
        registry.delete_comment(the(said.id))


def test_a_version_moves_between_stages(registry: ModelRegistryAPI, model: str, me: str) -> None:
    moved = the(
        registry.transition_stage(model, "1", "Production", False, comment="go").model_version_databricks
    )
    assert (moved.name, moved.version, moved.current_stage) == (model, "1", "Production")
    assert (moved.status, moved.permission_level) == (ml.Status.READY, ml.PermissionLevel.CAN_MANAGE)
    registry.transition_stage(model, "2", "Production", True)
    assert stages(registry, model) == {"1": "Archived", "2": "Production"}
    latest = {one.current_stage: one.version for one in registry.get_latest_versions(model)}
    assert latest == {"Archived": "1", "Production": "2"}
    (one,) = registry.get_latest_versions(model, stages=["Production", "Staging"])
    assert (one.version, one.status) == ("2", ml.ModelVersionStatus.READY)
    with pytest.raises(sdk_errors.BadRequest, match="Archived"):
        registry.transition_stage(model, "1", "Retired", False)


def test_a_move_is_asked_for_and_approved(
    registry: ModelRegistryAPI, other: ModelRegistryAPI, server: Server, model: str, me: str
) -> None:
    registry.transition_stage(model, "2", "Staging", False)
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_READ"):
        other.create_transition_request(model, "1", "Staging")
    share(registry, model, READ)
    asked = the(other.create_transition_request(model, "1", "Staging", comment="please").request)
    assert (asked.user_id, asked.to_stage, asked.comment) == (OTHER_USER, "Staging", "please")
    assert asked.available_actions == [ml.ActivityAction.CANCEL_TRANSITION_REQUEST]
    assert is_now(asked.creation_timestamp)
    with pytest.raises(sdk_errors.ResourceAlreadyExists):
        other.create_transition_request(model, "1", "Staging")

    (listed,) = registry.list_transition_requests(model, "1")
    assert listed.activity_type is ml.ActivityType.REQUESTED_TRANSITION
    assert (listed.user_id, listed.from_stage, listed.to_stage) == (OTHER_USER, "None", "Staging")
    assert (listed.comment, listed.creation_timestamp) == ("please", asked.creation_timestamp)
    assert listed.id
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_MANAGE_STAGING_VERSIONS"):
        other.approve_transition_request(model, "1", "Staging", False)

    given = {"registered_model_name": model}
    assert server.http.post(f"{SERVED_BY_STAGE}/enable", json=given).status_code == 200
    approved = the(
        registry.approve_transition_request(model, "1", "Staging", True, comment="well done").activity
    )
    assert approved.activity_type is ml.ActivityType.APPROVED_REQUEST
    assert (approved.user_id, approved.from_stage, approved.to_stage) == (me, "None", "Staging")
    assert (approved.comment, approved.last_updated_timestamp) == ("well done", approved.creation_timestamp)
    assert stages(registry, model) == {"1": "Staging", "2": "Archived"}
    assert list(registry.list_transition_requests(model, "1")) == []
    events = server.http.get(f"{SERVED_BY_STAGE}/get-event-history", params=given).json()["events"]
    assert "The registry has version 1 in Staging." in [one["message"] for one in events]
    assert server.http.post(f"{SERVED_BY_STAGE}/disable", json=given).status_code == 200
    with pytest.raises(sdk_errors.NotFound, match="no open request"):
        registry.approve_transition_request(model, "1", "Production", False)


def test_a_request_is_rejected_or_taken_back(
    registry: ModelRegistryAPI, other: ModelRegistryAPI, model: str
) -> None:
    share(registry, model, READ)
    for stage in ("Staging", "Production", "Archived"):
        other.create_transition_request(model, "1", stage)
    registry.create_transition_request(model, "1", "Archived")
    with pytest.raises(sdk_errors.PermissionDenied):
        other.reject_transition_request(model, "1", "Staging")
    share(registry, model, STAGING_MANAGER)
    rejected = the(other.reject_transition_request(model, "1", "Staging", comment="not yet").activity)
    assert rejected.activity_type is ml.ActivityType.REJECTED_REQUEST
    assert (rejected.user_id, rejected.comment, rejected.to_stage) == (OTHER_USER, "not yet", "Staging")
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_MANAGE_PRODUCTION_VERSIONS"):
        other.reject_transition_request(model, "1", "Production")

    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_MANAGE"):
        other.delete_transition_request(model, "1", "Archived", "admin@localhost")
    cancelled = the(other.delete_transition_request(model, "1", "Production", OTHER_USER).activity)
    assert cancelled.activity_type is ml.ActivityType.CANCELLED_REQUEST
    registry.delete_transition_request(model, "1", "Archived", OTHER_USER, comment="too late")
    (left,) = registry.list_transition_requests(model, "1")
    assert (left.to_stage, left.user_id) != ("Archived", OTHER_USER)
    assert stages(registry, model)["1"] == "None"
    registry.delete_model_version(model, "1")
    with pytest.raises(sdk_errors.NotFound):
        registry.list_transition_requests(model, "1")


def test_versions_are_commented_on(registry: ModelRegistryAPI, other: ModelRegistryAPI, model: str) -> None:
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_READ"):
        other.create_comment(model, "1", "looks good")
    share(registry, model, EDIT)
    said = the(other.create_comment(model, "1", "looks good").comment)
    assert (said.user_id, said.comment) == (OTHER_USER, "looks good")
    assert said.available_actions == [
        ml.CommentActivityAction.EDIT_COMMENT, ml.CommentActivityAction.DELETE_COMMENT,
    ]  # fmt: skip
    assert is_now(said.creation_timestamp)
    changed = the(other.update_comment(the(said.id), "looks bad").comment)
    assert (changed.id, changed.comment, changed.user_id) == (said.id, "looks bad", OTHER_USER)
    assert the(changed.last_updated_timestamp) >= the(changed.creation_timestamp)

    own = the(registry.create_comment(model, "1", "mine").comment)
    for forbidden in (
        lambda: other.update_comment(the(own.id), "yours"),
        lambda: other.delete_comment(the(own.id)),
    ):
        with pytest.raises(sdk_errors.PermissionDenied, match="CAN_MANAGE"):
            forbidden()
    other.delete_comment(the(said.id))
    registry.delete_comment(the(own.id))
    with pytest.raises(sdk_errors.NotFound):
        registry.update_comment(the(own.id), "gone")
    with pytest.raises(sdk_errors.NotFound):
        registry.create_comment(model, "9", "nothing there")
    with pytest.raises(sdk_errors.BadRequest, match="comment"):
        registry.create_comment(model, "1", "")


def test_rights_are_those_of_the_id(registry: ModelRegistryAPI, other: ModelRegistryAPI, model: str) -> None:
    model_id = the(the(registry.get_model(model).registered_model_databricks).id)
    described = registry.get_permission_levels(model_id).permission_levels
    assert [one.permission_level for one in the(described)] == [
        READ, EDIT, STAGING_MANAGER, RegisteredModelPermissionLevel.CAN_MANAGE_PRODUCTION_VERSIONS,
        RegisteredModelPermissionLevel.CAN_MANAGE,
    ]  # fmt: skip
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_READ"):
        other.get_model(model)
    entry = ml.RegisteredModelAccessControlRequest(user_name=OTHER_USER, permission_level=EDIT)
    registry.set_permissions(model_id, access_control_list=[entry])
    assert the(other.get_model(model).registered_model_databricks).permission_level is ml.PermissionLevel.CAN_EDIT
    entry.permission_level = READ
    registry.update_permissions(model_id, access_control_list=[entry])
    assert the(other.get_model(model).registered_model_databricks).permission_level is ml.PermissionLevel.CAN_READ
    found = registry.get_permissions(model_id)
    assert (found.object_id, found.object_type) == (f"/registered-models/{model_id}", "registered-model")
    held = {one.user_name: the(one.all_permissions)[0].permission_level for one in the(found.access_control_list)}
    assert held[OTHER_USER] is READ
    for forbidden in (
        lambda: other.delete_model_tag(model, "any"),
        lambda: other.delete_model_version_tag(model, "1", "any"),
        lambda: other.delete_model_version(model, "1"),
        lambda: other.delete_model(model),
    ):
        with pytest.raises(sdk_errors.PermissionDenied):
            forbidden()
    assert stages(registry, model) == {"1": "None", "2": "None"}


def test_registry_webhooks_are_refused(registry: ModelRegistryAPI) -> None:
    event = ml.RegistryWebhookEvent.COMMENT_CREATED
    for method in (
        lambda: registry.create_webhook([event], http_url_spec=ml.HttpUrlSpec("https://example.com")),
        lambda: registry.create_webhook([event], job_spec=ml.JobSpec("1", "token")),
        lambda: list(registry.list_webhooks(events=[event])),
        lambda: registry.update_webhook("1", description="x"),
        lambda: registry.delete_webhook("1"),
        lambda: registry.test_registry_webhook("1", event=event),
    ):
        with pytest.raises(sdk_errors.NotImplemented, match="webhooks"):
            method()
