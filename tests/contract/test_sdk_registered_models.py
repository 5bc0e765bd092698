"""Models in Unity Catalog through the unmodified Databricks SDK: every method of `registered_models`,
`model_versions` and `files`, on versions that MLflow's client has made in each way that it has.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.service.catalog import (
    ModelVersionInfo,
    ModelVersionInfoStatus,
    ModelVersionsAPI,
    PermissionsChange,
    Privilege,
    RegisteredModelAlias,
    RegisteredModelInfo,
    RegisteredModelsAPI,
)
from mlflow import MlflowClient
from mlflow.models import infer_signature
from server import OTHER_TOKEN, OTHER_USER, Server

CATALOG = "sdk"
EXPERIMENT = "/Users/admin@example.com/sdk"
STORAGE = "dbfs:/databricks/mlflow-tracking/registered-models"
BIG_BYTES = 60_000_000
ROWS = pd.DataFrame({"x": [1.0, 2.0]})
_numbers = itertools.count()


class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> pd.DataFrame:
        return model_input * 2


@dataclasses.dataclass(frozen=True)
class Made:
    """How a version was made, and what the SDK is to say of it."""

    version: str
    source: str
    run_id: str | None
    model_id: str | None
    storage: str
    """What its `storage_location` begins with."""
    backed: bool
    """Whether its files are its own."""


@pytest.fixture(scope="module")
def admin(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture(scope="module")
def other(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")


@pytest.fixture(scope="module")
def me(admin: WorkspaceClient) -> str:
    return str(admin.current_user.me().user_name)


@pytest.fixture(scope="module")
def tracked(server: Server) -> Iterator[None]:
    """MLflow as on Databricks: `databricks` is where it logs, `databricks-uc` where it registers."""
    with server.as_client(), pytest.MonkeyPatch.context() as patch:
        for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(variable, raising=False)
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        mlflow.set_tracking_uri("databricks")
        mlflow.set_registry_uri("databricks-uc")
        mlflow.set_experiment(EXPERIMENT)
        yield


@pytest.fixture(scope="module")
def logged(tracked: None) -> mlflow.models.model.ModelInfo:
    """A model that a run has logged."""
    with mlflow.start_run():
        return mlflow.pyfunc.log_model(
            name="doubler",
            python_model=Doubler(),
            signature=infer_signature(ROWS, ROWS * 2),
            pip_requirements=["mlflow"],
        )


@pytest.fixture(scope="module")
def folder(tracked: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model in a folder of this machine."""
    path = tmp_path_factory.mktemp("saved") / "doubler"
    mlflow.pyfunc.save_model(
        str(path),
        python_model=Doubler(),
        signature=infer_signature(ROWS, ROWS * 2),
        pip_requirements=["mlflow"],
    )
    return path


@pytest.fixture
def schema() -> str:
    return f"s{next(_numbers)}"


@pytest.fixture
def model(admin: WorkspaceClient, schema: str) -> str:
    """The full name of a model without versions, which the SDK has made."""
    return str(admin.registered_models.create(catalog_name=CATALOG, schema_name=schema, name="m").full_name)


def by_uri(model: str, logged: mlflow.models.model.ModelInfo, _folder: Path, _server: Server) -> Made:
    version = mlflow.register_model(logged.model_uri, model).version
    return Made(str(version), logged.model_uri, logged.run_id, logged.model_id, STORAGE, True)


def by_run(model: str, logged: mlflow.models.model.ModelInfo, _folder: Path, _server: Server) -> Made:
    version = mlflow.register_model(f"runs:/{logged.run_id}/doubler", model).version
    return Made(str(version), logged.model_uri, logged.run_id, logged.model_id, STORAGE, True)


def by_folder(model: str, _logged: mlflow.models.model.ModelInfo, folder: Path, _server: Server) -> Made:
    version = MlflowClient("databricks", "databricks-uc").create_model_version(model, str(folder)).version
    return Made(str(version), str(folder), None, None, STORAGE, True)


def by_plain_mlflow(model: str, logged: mlflow.models.model.ModelInfo, _folder: Path, server: Server) -> Made:
    """With MLflow's own API: the version has the files where the run has logged them."""
    client = MlflowClient(server.url, server.url)
    version = client.create_model_version(model, logged.model_uri, logged.run_id, model_id=logged.model_id).version
    storage = client.get_run(logged.run_id).info.experiment_id
    files = f"dbfs:/databricks/mlflow-tracking/{storage}/logged_models/{logged.model_id}/artifacts"
    return Made(str(version), logged.model_uri, logged.run_id, logged.model_id, files, False)


def by_run_with_plain_mlflow(
    model: str, logged: mlflow.models.model.ModelInfo, _folder: Path, server: Server
) -> Made:
    """The version's files are the run's of that name: a logged model here."""
    source = f"runs:/{logged.run_id}/doubler"
    version = MlflowClient(server.url, server.url).create_model_version(model, source, logged.run_id).version
    return Made(str(version), source, logged.run_id, logged.model_id, source, False)


def by_files_with_plain_mlflow(
    model: str, logged: mlflow.models.model.ModelInfo, folder: Path, server: Server
) -> Made:
    """The same, of files that were logged without making a logged model of them."""
    client = MlflowClient("databricks")
    client.log_artifacts(logged.run_id, str(folder), "models/a doubler")
    source = f"runs:/{logged.run_id}/models/a doubler"
    version = MlflowClient(server.url, server.url).create_model_version(model, source, logged.run_id).version
    return Made(str(version), source, logged.run_id, None, source, False)


def by_copy(model: str, logged: mlflow.models.model.ModelInfo, folder: Path, server: Server) -> Made:
    """Of a version whose maker named no logged model, so it has the one with its files."""
    source = MlflowClient("databricks", "databricks-uc").create_registered_model(f"{model}_first").name
    add_version(source, folder)
    version = MlflowClient("databricks", "databricks-uc").copy_model_version(f"models:/{source}/1", model).version
    return Made(str(version), f"models:/{source}/1", None, None, STORAGE, True)


def without_a_run(model: str, _logged: mlflow.models.model.ModelInfo, folder: Path, _server: Server) -> Made:
    client = MlflowClient("databricks", "databricks-uc")
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    made = client.create_logged_model(experiment, name="loose")
    client.log_model_artifacts(made.model_id, str(folder))
    client.finalize_logged_model(made.model_id, "READY")
    version = mlflow.register_model(f"models:/{made.model_id}", model).version
    return Made(str(version), f"models:/{made.model_id}", None, made.model_id, STORAGE, True)


MAKERS = [
    by_uri,
    by_run,
    by_folder,
    by_copy,
    without_a_run,
    by_plain_mlflow,
    by_run_with_plain_mlflow,
    by_files_with_plain_mlflow,
]
Maker = Callable[[str, Any, Path, Server], Made]


def said(answer: RegisteredModelInfo | ModelVersionInfo | RegisteredModelAlias) -> dict[str, Any]:
    """Every field that the SDK knows, of which those about time are only looked at."""
    document = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    for name in ("created_at", "updated_at"):
        if name in document:
            assert 0 <= time.time() * 1000 - document.pop(name) + 1000 < 60_000
    return document


def the_alias(model: str, alias: str, version: int) -> RegisteredModelAlias:
    catalog, schema, name = model.split(".")
    return RegisteredModelAlias(
        alias_name=alias, catalog_name=catalog, schema_name=schema, model_name=name, version_num=version
    )


def add_version(model: str, folder: Path) -> int:
    return int(MlflowClient("databricks", "databricks-uc").create_model_version(model, str(folder)).version)


def versions_folder(server: Server) -> list[Path]:
    """The folders of the store that have files of versions."""
    return list((server.data_dir / "mlflow" / "artifacts" / "registered-models" / "models").glob("*"))


def test_no_method_is_left_out(admin: WorkspaceClient) -> None:
    here = Path(__file__).read_text()
    for name, api in (
        ("registered_models", RegisteredModelsAPI),
        ("model_versions", ModelVersionsAPI),
        ("files", type(admin.files)),
    ):
        methods = [method for method, _ in inspect.getmembers(api, inspect.isfunction) if method[0] != "_"]
        assert len(methods) >= 5
        assert [method for method in methods if f".{name}.{method}(" not in here] == []


def test_a_model_is_made_found_and_deleted(admin: WorkspaceClient, me: str, schema: str) -> None:
    made = admin.registered_models.create(
        catalog_name=CATALOG, schema_name=schema, name="ads", comment="what it does", storage_location=STORAGE
    )
    expected = {
        "aliases": [],  # what the SDK makes of none
        "browse_only": False,
        "catalog_name": CATALOG,
        "comment": "what it does",
        "created_by": me,
        "full_name": f"{CATALOG}.{schema}.ads",
        "metastore_id": None,
        "name": "ads",
        "owner": me,
        "schema_name": schema,
        "storage_location": STORAGE,
        "updated_by": None,
    }
    assert said(made) == expected
    full_name = str(made.full_name)
    assert admin.registered_models.get(full_name) == made
    assert admin.registered_models.get(full_name, include_aliases=True, include_browse=True) == made
    with pytest.raises(sdk_errors.ResourceAlreadyExists, match=full_name):
        admin.registered_models.create(catalog_name=CATALOG, schema_name=schema, name="ads")
    changed = admin.registered_models.update(full_name, comment="other words")
    assert said(changed) == {**expected, "comment": "other words"}
    assert admin.registered_models.update(full_name, comment="").comment == ""
    admin.registered_models.delete(full_name)
    for missing in (admin.registered_models.get, admin.registered_models.delete):
        with pytest.raises(sdk_errors.NotFound, match=full_name):
            missing(full_name)


def test_models_that_mlflow_makes_are_the_sdks(
    admin: WorkspaceClient, server: Server, tracked: None, me: str, schema: str
) -> None:
    for name, client in (
        ("uc", MlflowClient("databricks", "databricks-uc")),
        ("plain", MlflowClient(server.url, server.url)),
    ):
        client.create_registered_model(f"{CATALOG}.{schema}.{name}", description="by MLflow")
        found = said(admin.registered_models.get(f"{CATALOG}.{schema}.{name}"))
        assert (found["name"], found["comment"], found["owner"]) == (name, "by MLflow", me)
    listed = admin.registered_models.list(catalog_name=CATALOG, schema_name=schema)
    assert sorted(str(one.name) for one in listed) == ["plain", "uc"]


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_a_version_says_all_of_itself(
    admin: WorkspaceClient, server: Server, me: str, model: str, maker: Maker, logged: Any, folder: Path
) -> None:
    made = maker(model, logged, folder, server)
    _, schema, name = model.split(".")
    found = admin.model_versions.get(model, int(made.version), include_browse=True)
    document = said(found)
    assert str(document.pop("storage_location")).startswith(made.storage)
    assert (document.pop("id") is not None) is made.backed
    expected = {
        "aliases": [],
        "catalog_name": CATALOG,
        "comment": "",
        "created_by": me if made.backed else None,
        "metastore_id": None,
        "model_name": name,
        "model_version_dependencies": None,
        "run_id": made.run_id,
        "run_workspace_id": document["run_workspace_id"],
        "schema_name": schema,
        "source": made.source,
        "status": ModelVersionInfoStatus.READY,
        "updated_by": None,
        "version": int(made.version),
    }
    assert document == expected
    if made.backed and made.run_id is not None:
        assert document["run_workspace_id"] == admin.get_workspace_id()
    seen = MlflowClient("databricks", "databricks-uc").get_model_version(model, made.version)
    assert (seen.source, seen.run_id, seen.status) == (made.source, made.run_id or "", "READY")
    if made.model_id is not None and made.source.startswith("models:/m-"):
        assert seen.model_id == made.model_id
    elif made.backed:
        assert MlflowClient("databricks").get_logged_model(seen.model_id).status == "READY"
    admin.registered_models.set_alias(model, "best", int(made.version))
    found = admin.model_versions.get(model, int(made.version), include_aliases=True)
    assert found.aliases == [the_alias(model, "best", int(made.version))]
    assert admin.model_versions.get_by_alias(model, "best", include_aliases=True) == found
    assert admin.model_versions.get_by_alias(model, "best").aliases == []

    changed = admin.model_versions.update(model, int(made.version), comment="other words", source="elsewhere")
    assert (changed.comment, changed.source) == ("other words", made.source)
    assert admin.model_versions.get(model, int(made.version)).comment == "other words"
    (listed,) = admin.model_versions.list(model, include_browse=True)
    assert (listed.version, listed.comment, listed.status) == (1, "other words", ModelVersionInfoStatus.READY)
    assert (listed.source, listed.run_id) == (made.source, made.run_id)

    root = f"/Models/{model.replace('.', '/')}/{made.version}"
    answer = admin.files.download(f"{root}/MLmodel")
    assert b"python_function" in answer.contents.read()
    loaded = mlflow.pyfunc.load_model(f"models:/{model}@best")
    assert loaded.predict(ROWS)["x"].tolist() == [2.0, 4.0]
    with pytest.raises(sdk_errors.PermissionDenied, match="registered"):
        admin.files.upload(f"{root}/MLmodel", io.BytesIO(b"another"), overwrite=True)


def test_lists_have_pages(admin: WorkspaceClient, tracked: None, folder: Path, schema: str) -> None:
    for name in "abc":
        admin.registered_models.create(catalog_name=CATALOG, schema_name=schema, name=name)
    admin.registered_models.create(catalog_name=CATALOG, schema_name=f"{schema}x", name="d")
    for most in (None, 0, 1, 2):
        found = admin.registered_models.list(catalog_name=CATALOG, schema_name=schema, max_results=most)
        assert [one.full_name for one in found] == [f"{CATALOG}.{schema}.{name}" for name in "abc"]
    every = [one.full_name for one in admin.registered_models.list(max_results=1, include_browse=True)]
    assert len(every) == len(set(every))
    assert {f"{CATALOG}.{schema}.{name}" for name in "abc"} | {f"{CATALOG}.{schema}x.d"} <= set(every)
    assert set(every) == {one.full_name for one in admin.registered_models.list()}
    assert list(admin.registered_models.list(catalog_name=CATALOG, schema_name="nosuch")) == []

    model = f"{CATALOG}.{schema}.a"
    assert list(admin.model_versions.list(model)) == []
    with ThreadPoolExecutor(3) as pool:
        made = sorted(pool.map(lambda _: add_version(model, folder), range(3)))
    assert made == [1, 2, 3]
    for most in (None, 0, 1, 2):
        assert [one.version for one in admin.model_versions.list(model, max_results=most)] == [3, 2, 1]


def test_aliases_move_and_go(admin: WorkspaceClient, tracked: None, model: str, folder: Path) -> None:
    first, second = add_version(model, folder), add_version(model, folder)
    assert admin.registered_models.set_alias(model, "best", first) == the_alias(model, "best", first)
    admin.registered_models.set_alias(model, "next", first)
    admin.registered_models.set_alias(model, "best", second)
    assert admin.model_versions.get_by_alias(model, "best").version == second
    held = admin.registered_models.get(model, include_aliases=True).aliases or []
    assert sorted(held, key=lambda one: str(one.alias_name)) == [
        the_alias(model, "best", second),
        the_alias(model, "next", first),
    ]
    assert MlflowClient("databricks", "databricks-uc").get_registered_model(model).aliases == {
        "best": str(second),
        "next": str(first),
    }
    admin.registered_models.delete_alias(model, "next")
    admin.model_versions.delete(model, second)
    assert admin.registered_models.get(model, include_aliases=True).aliases == []
    for gone in ("best", "next"):
        with pytest.raises(sdk_errors.NotFound):
            admin.model_versions.get_by_alias(model, gone)
        with pytest.raises(sdk_errors.NotFound):
            admin.registered_models.delete_alias(model, gone)
    with pytest.raises(sdk_errors.NotFound):
        admin.registered_models.set_alias(model, "best", second)


def test_a_model_gets_another_name_and_owner(
    admin: WorkspaceClient, other: WorkspaceClient, tracked: None, me: str, model: str, schema: str, folder: Path
) -> None:
    version = add_version(model, folder)
    admin.registered_models.set_alias(model, "best", version)
    renamed = admin.registered_models.update(model, new_name="n", comment="renamed")
    assert (renamed.name, renamed.full_name, renamed.comment) == ("n", f"{CATALOG}.{schema}.n", "renamed")
    with pytest.raises(sdk_errors.NotFound):
        admin.registered_models.get(model)
    assert admin.model_versions.get_by_alias(str(renamed.full_name), "best").model_name == "n"
    assert mlflow.pyfunc.load_model(f"models:/{renamed.full_name}@best").predict(ROWS)["x"].tolist() == [2.0, 4.0]
    moved = f"{CATALOG}.{schema}other.n"
    assert admin.registered_models.update(str(renamed.full_name), new_name=moved).full_name == moved

    with pytest.raises(sdk_errors.PermissionDenied):
        other.registered_models.update(moved, owner=OTHER_USER)
    given = admin.registered_models.update(moved, owner=OTHER_USER)
    assert (given.owner, given.created_by) == (OTHER_USER, me)
    assert other.registered_models.update(moved, comment="mine").owner == OTHER_USER
    assert [one.full_name for one in other.registered_models.list(catalog_name=CATALOG, schema_name=f"{schema}other")]
    with pytest.raises(sdk_errors.InvalidParameterValue, match="nobody"):
        admin.registered_models.update(moved, owner="nobody@example.com")
    admin.registered_models.create(catalog_name=CATALOG, schema_name=f"{schema}other", name="taken")
    with pytest.raises(sdk_errors.ResourceAlreadyExists, match="taken"):
        other.registered_models.update(moved, new_name="taken")
    other.registered_models.delete(moved)


def test_a_copy_keeps_the_run_and_the_logged_model(
    admin: WorkspaceClient, server: Server, model: str, logged: Any, folder: Path
) -> None:
    client, plain = MlflowClient("databricks", "databricks-uc"), MlflowClient(server.url, server.url)
    client.log_artifacts(logged.run_id, str(folder), "copied")
    mlflow.register_model(f"runs:/{logged.run_id}/copied", model)
    plain.create_model_version(model, logged.model_uri, logged.run_id, model_id=logged.model_id)
    plain.create_model_version(model, f"models:/{model}/2")
    for version in ("1", "2", "3"):
        copy = client.copy_model_version(f"models:/{model}/{version}", f"{model}_copy")
        assert (copy.version, copy.run_id) == (version, logged.run_id)
        assert copy.model_id == client.get_model_version(model, version).model_id
        assert (copy.model_id == logged.model_id) is (version != "1")
    admin.registered_models.delete(model)
    again = client.copy_model_version(f"models:/{model}_copy/1", f"{model}_again")
    assert again.run_id == logged.run_id
    assert mlflow.pyfunc.load_model(f"models:/{model}_again/1").predict(ROWS)["x"].tolist() == [2.0, 4.0]


def test_what_is_deleted_leaves_no_files(
    admin: WorkspaceClient, server: Server, model: str, logged: Any, folder: Path
) -> None:
    before = set(versions_folder(server))
    makers = [by_uri, by_run, by_folder, by_plain_mlflow]
    for maker in makers:
        maker(model, logged, folder, server)
    own = set(versions_folder(server)) - before
    assert len(own) == len(makers) - 1
    (first,) = [path for path in own if path.name == admin.model_versions.get(model, 1).id]
    admin.model_versions.delete(model, 1)
    with pytest.raises(sdk_errors.NotFound):
        admin.model_versions.get(model, 1)
    with pytest.raises(sdk_errors.NotFound):
        admin.model_versions.delete(model, 1)
    assert set(versions_folder(server)) - before == own - {first}
    assert [one.version for one in admin.model_versions.list(model)] == [4, 3, 2]
    admin.registered_models.delete(model)
    assert set(versions_folder(server)) - before == set()
    with pytest.raises(sdk_errors.NotFound):
        admin.files.get_metadata(f"/Models/{model.replace('.', '/')}/2/MLmodel")
    assert mlflow.pyfunc.load_model(logged.model_uri).predict(ROWS)["x"].tolist() == [2.0, 4.0]


def test_mistakes_are_the_sdks_own_errors(
    admin: WorkspaceClient, tracked: None, schema: str, model: str, folder: Path
) -> None:
    add_version(model, folder)
    for bad in ("m", f"{CATALOG}.m", "a.b.c.d"):
        with pytest.raises(sdk_errors.InvalidParameterValue, match="all three levels"):
            admin.registered_models.get(bad)
        with pytest.raises(sdk_errors.BadRequest, match="all three levels"):
            list(admin.model_versions.list(bad))
    for fields, named in (
        ({"schema_name": schema, "name": "m"}, "catalog_name"),
        ({"catalog_name": CATALOG, "name": "m"}, "schema_name"),
        ({"catalog_name": CATALOG, "schema_name": schema}, "name"),
        ({"catalog_name": CATALOG, "schema_name": schema, "name": "a.b"}, "name"),
        ({"catalog_name": CATALOG, "schema_name": schema, "name": "m", "storage_location": "s3://b"}, "storage_"),
    ):
        with pytest.raises(sdk_errors.InvalidParameterValue, match=named):
            admin.registered_models.create(**fields)
    with pytest.raises(sdk_errors.InvalidParameterValue, match="schema_name"):
        list(admin.registered_models.list(catalog_name=CATALOG))
    for page in ({"max_results": -1}, {"page_token": "none"}):
        with pytest.raises(sdk_errors.InvalidParameterValue, match=next(iter(page))):
            list(admin.registered_models.list(**page))
        with pytest.raises(sdk_errors.InvalidParameterValue, match=next(iter(page))):
            list(admin.model_versions.list(model, **page))
    with pytest.raises(sdk_errors.InvalidParameterValue, match="version_num"):
        admin.registered_models.set_alias(model, "best", 0)
    with pytest.raises(sdk_errors.BadRequest, match="alias"):
        admin.registered_models.set_alias(model, "v1", 1)
    with pytest.raises(sdk_errors.BadRequest, match="new_name"):
        admin.registered_models.update(model, new_name="a.b")
    absent = f"{CATALOG}.{schema}.nosuch"
    for missing in (
        lambda: admin.registered_models.get(absent),
        lambda: admin.registered_models.update(absent, comment="x"),
        lambda: admin.registered_models.set_alias(absent, "best", 1),
        lambda: list(admin.model_versions.list(absent)),
        lambda: admin.model_versions.get(model, 9),
        lambda: admin.model_versions.update(model, 9, comment="x"),
        lambda: admin.model_versions.get_by_alias(model, "nosuch"),
    ):
        with pytest.raises(sdk_errors.NotFound):
            missing()


def test_another_user_needs_a_right_for_each_step(
    admin: WorkspaceClient, other: WorkspaceClient, tracked: None, model: str, schema: str, folder: Path
) -> None:
    version = add_version(model, folder)
    admin.registered_models.set_alias(model, "best", version)
    file = f"/Models/{model.replace('.', '/')}/{version}/MLmodel"
    reads = (
        lambda: other.registered_models.get(model),
        lambda: list(other.model_versions.list(model)),
        lambda: other.model_versions.get(model, version),
        lambda: other.model_versions.get_by_alias(model, "best"),
        lambda: other.files.download(file),
        lambda: other.files.get_metadata(file),
        lambda: list(other.files.list_directory_contents(file.removesuffix("/MLmodel"))),
        lambda: other.files.get_directory_metadata(file.removesuffix("/MLmodel")),
    )
    changes = (
        lambda: other.registered_models.update(model, comment="x"),
        lambda: other.registered_models.update(model, new_name="x"),
        lambda: other.registered_models.set_alias(model, "mine", version),
        lambda: other.registered_models.delete_alias(model, "best"),
        lambda: other.registered_models.delete(model),
        lambda: other.model_versions.update(model, version, comment="x"),
        lambda: other.model_versions.delete(model, version),
        lambda: other.files.upload(file, io.BytesIO(b"x"), overwrite=True),
        lambda: other.files.delete(file),
    )
    for call in (*reads, *changes):
        with pytest.raises(sdk_errors.PermissionDenied):
            call()
    assert list(other.registered_models.list(catalog_name=CATALOG, schema_name=schema, max_results=1)) == []
    share = PermissionsChange(principal=OTHER_USER, add=[Privilege.EXECUTE])
    admin.grants.update("function", model, changes=[share])
    for call in reads:
        call()
    for call in changes:
        with pytest.raises(sdk_errors.PermissionDenied):
            call()
    (listed,) = other.registered_models.list(catalog_name=CATALOG, schema_name=schema, max_results=1)
    assert listed.full_name == model


@pytest.fixture(scope="module")
def with_files(
    admin: WorkspaceClient, tracked: None, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The root of a version's files, and the folder that they were made of: a large one, and odd names."""
    import shutil

    place = tmp_path_factory.mktemp("files") / "doubler"
    shutil.copytree(folder, place)
    (place / "big.bin").write_bytes(os.urandom(1_000_000) * (BIG_BYTES // 1_000_000))
    (place / "odd ä" / "below").mkdir(parents=True)
    for name in ("a file.txt", "100% #1?.txt", "日本+語.txt", "empty.txt"):
        (place / "odd ä" / name).write_text("" if name == "empty.txt" else name)
    (place / "odd ä" / "below" / "x.txt").write_text("x")
    model = f"{CATALOG}.files.m"
    admin.registered_models.create(catalog_name=CATALOG, schema_name="files", name="m")
    version = add_version(model, place)
    yield f"/Models/{model.replace('.', '/')}/{version}", place
    admin.registered_models.delete(model)


def test_files_of_a_version_are_read(admin: WorkspaceClient, with_files: tuple[str, Path], tmp_path: Path) -> None:
    root, place = with_files
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        file = f"{root}/{path.relative_to(place)}"
        about = admin.files.get_metadata(file)
        assert (about.content_length, about.content_type) == (path.stat().st_size, "application/octet-stream")
        assert 0 <= time.time() + 1 - parsedate_to_datetime(str(about.last_modified)).timestamp() < 60
        if path.stat().st_size < BIG_BYTES:
            answer = admin.files.download(file)
            assert (answer.content_length, answer.last_modified) == (about.content_length, about.last_modified)
            assert answer.contents.read() == path.read_bytes()
            admin.files.download_to(file, str(tmp_path / "small"), use_parallel=True)
            assert (tmp_path / "small").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("parallel", [True, False])
def test_a_large_file_of_a_version_comes_in_parts(
    admin: WorkspaceClient, with_files: tuple[str, Path], tmp_path: Path, parallel: bool
) -> None:
    root, place = with_files
    admin.files.download_to(f"{root}/big.bin", str(tmp_path / "big.bin"), use_parallel=parallel)
    assert (tmp_path / "big.bin").read_bytes() == (place / "big.bin").read_bytes()


@pytest.mark.parametrize("size", [None, 1, 2])
def test_folders_of_a_version_are_listed(
    admin: WorkspaceClient, with_files: tuple[str, Path], size: int | None
) -> None:
    root, place = with_files
    for path in (place, place / "odd ä", place / "odd ä" / "below"):
        file = root if path == place else f"{root}/{path.relative_to(place)}"
        admin.files.get_directory_metadata(file)
        expected = {
            each.name: (f"{file}/{each.name}", each.is_dir(), None if each.is_dir() else each.stat().st_size)
            for each in path.iterdir()
        }
        found = list(admin.files.list_directory_contents(file, page_size=size))
        for entry in found:
            assert 0 <= time.time() * 1000 + 1000 - (entry.last_modified or 0) < 60_000
        assert {str(one.name): (one.path, one.is_directory, one.file_size) for one in found} == expected
        assert len(found) == len(expected)


def test_a_registered_version_does_not_change(
    admin: WorkspaceClient, with_files: tuple[str, Path], tmp_path: Path
) -> None:
    root, place = with_files
    large = place / "big.bin"
    (tmp_path / "small").write_bytes(b"x")
    for refused in (
        lambda: admin.files.upload(f"{root}/MLmodel", io.BytesIO(b"x"), overwrite=True),
        lambda: admin.files.upload(f"{root}/new file", io.BytesIO(b"x")),
        lambda: admin.files.upload_from(f"{root}/new file", str(tmp_path / "small")),
        lambda: admin.files.upload_from(f"{root}/big.bin", str(large), overwrite=True),
        lambda: admin.files.delete(f"{root}/MLmodel"),
        lambda: admin.files.create_directory(f"{root}/new"),
        lambda: admin.files.delete_directory(f"{root}/odd ä/below"),
    ):
        with pytest.raises(sdk_errors.PermissionDenied, match="registered"):
            refused()
    assert admin.files.download(f"{root}/MLmodel").contents.read() == (place / "MLmodel").read_bytes()
    for missing in (
        lambda: admin.files.get_metadata(f"{root}/new file"),
        lambda: admin.files.download(f"{root}/new file"),
        lambda: admin.files.download(f"{root}/odd ä"),
        lambda: admin.files.get_directory_metadata(f"{root}/MLmodel"),
        lambda: list(admin.files.list_directory_contents(f"{root}/nosuch")),
        lambda: admin.files.get_metadata(f"{root.removesuffix('/1')}/9/MLmodel"),
        lambda: admin.files.download("/Volumes/main/default/v/x"),
    ):
        with pytest.raises(sdk_errors.NotFound):
            missing()


def test_a_version_that_waits_for_its_files_takes_them(
    admin: WorkspaceClient, other: WorkspaceClient, server: Server, model: str, tmp_path: Path
) -> None:
    document = {"name": model, "source": "anywhere"}
    made = server.http.post("/api/2.0/mlflow/unity-catalog/model-versions/create", json=document)
    assert made.status_code == 200, made.text
    assert admin.model_versions.get(model, 1).status is ModelVersionInfoStatus.PENDING_REGISTRATION
    root = f"/Models/{model.replace('.', '/')}/1"
    admin.files.get_directory_metadata(root)
    assert list(admin.files.list_directory_contents(root)) == []
    admin.files.upload(f"{root}/a b/ä.txt", io.BytesIO(b"first"))
    admin.files.upload(f"{root}/a b/ä.txt", io.BytesIO(b"second"), overwrite=True)
    with pytest.raises(sdk_errors.AlreadyExists):
        admin.files.upload(f"{root}/a b/ä.txt", io.BytesIO(b"third"), overwrite=False)
    assert admin.files.download(f"{root}/a b/ä.txt").contents.read() == b"second"
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1_000_000) * (BIG_BYTES // 1_000_000))
    admin.files.upload_from(f"{root}/large ä", str(large))
    admin.files.download_to(f"{root}/large ä", str(tmp_path / "back"), use_parallel=True)
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    admin.files.create_directory(f"{root}/new/below")
    admin.files.delete_directory(f"{root}/new/below")
    with pytest.raises(sdk_errors.BadRequest, match="not empty"):
        admin.files.delete_directory(f"{root}/a b")
    admin.files.delete(f"{root}/large ä")
    assert sorted(str(one.name) for one in admin.files.list_directory_contents(root)) == ["a b", "new"]
    with pytest.raises(sdk_errors.PermissionDenied):
        other.files.upload(f"{root}/theirs", io.BytesIO(b"x"))
    done = {"name": model, "version": "1"}
    assert server.http.post("/api/2.0/mlflow/unity-catalog/model-versions/finalize", json=done).status_code == 200
    assert admin.model_versions.get(model, 1).status is ModelVersionInfoStatus.READY
    with pytest.raises(sdk_errors.PermissionDenied, match="registered"):
        admin.files.upload(f"{root}/late", io.BytesIO(b"x"))
