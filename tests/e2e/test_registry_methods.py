"""Every public method of MLflow's client that asks the model registry, with both of Databricks' registry URIs.

A method that a new MLflow brings fails here until it has a case.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from server import Server, running_server

METHODS = sorted(
    {
        name
        for name, method in inspect.getmembers(MlflowClient, inspect.isfunction)
        if not name.startswith("_") and "_get_registry_client()" in inspect.getsource(method)
    }
    | {"create_model_version", "get_model_version_stages", "list_logged_prompts"}
)


ELSEWHERE = "https://1.1.1.1/hook"


class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> pd.DataFrame:
        return model_input * 2


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running, running.as_client(), pytest.MonkeyPatch.context() as patch:
        for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(variable, raising=False)
        mlflow.set_tracking_uri("databricks")
        mlflow.set_experiment("registry methods")
        yield running


@pytest.fixture(scope="module")
def logged(server: Server) -> mlflow.models.model.ModelInfo:
    """A model that was logged with a signature, as versions are made of."""
    rows = pd.DataFrame({"x": [1.0, 2.0]})
    signature = infer_signature(rows, rows * 2)
    with mlflow.start_run():
        return mlflow.pyfunc.log_model(
            name="doubler", python_model=Doubler(), signature=signature, pip_requirements=["mlflow"]
        )


class Cases:
    """What both registries do alike: a method for each of the client's, of the same name."""

    def __init__(self, client: MlflowClient, name: str, logged: mlflow.models.model.ModelInfo) -> None:
        self.client, self.name, self.logged = client, name, logged

    def version(self) -> ModelVersion:
        self.client.create_registered_model(self.name, tags={"team": "a"}, description="a model")
        return self.another_version()

    def another_version(self) -> ModelVersion:
        made = self.client.create_model_version(self.name, self.logged.model_uri, self.logged.run_id, {"k": "v"})
        assert made.status == "READY"
        return made

    def create_registered_model(self) -> None:
        made = self.client.create_registered_model(self.name, tags={"team": "a"}, description="a model")
        assert (made.name, made.description, made.tags) == (self.name, "a model", {"team": "a"})
        with pytest.raises(MlflowException) as refusal:
            self.client.create_registered_model(self.name)
        assert refusal.value.error_code == "RESOURCE_ALREADY_EXISTS"

    def get_registered_model(self) -> None:
        self.version()
        found = self.client.get_registered_model(self.name)
        assert (found.name, found.description, found.tags) == (self.name, "a model", {"team": "a"})
        assert found.creation_timestamp <= found.last_updated_timestamp
        with pytest.raises(MlflowException) as refusal:
            self.client.get_registered_model(f"{self.name}_not")
        assert refusal.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    def rename_registered_model(self) -> None:
        self.version()
        self.client.rename_registered_model(self.name, f"{self.name}_2")
        assert self.client.get_registered_model(f"{self.name}_2").description == "a model"
        assert self.client.get_model_version(f"{self.name}_2", "1").version == "1"
        with pytest.raises(MlflowException):
            self.client.get_registered_model(self.name)
        loaded = mlflow.pyfunc.load_model(f"models:/{self.name}_2/1")
        assert loaded.predict(pd.DataFrame({"x": [4.0]}))["x"].tolist() == [8.0]

    def update_registered_model(self) -> None:
        self.version()
        assert self.client.update_registered_model(self.name, "another").description == "another"
        assert self.client.get_registered_model(self.name).description == "another"

    def delete_registered_model(self) -> None:
        self.version()
        self.client.delete_registered_model(self.name)
        with pytest.raises(MlflowException) as refusal:
            self.client.get_registered_model(self.name)
        assert refusal.value.error_code == "RESOURCE_DOES_NOT_EXIST"
        with pytest.raises(MlflowException):
            self.client.get_model_version(self.name, "1")

    def search_registered_models(self) -> None:
        self.version()
        pages, token = [], None
        while True:
            page = self.client.search_registered_models(max_results=2, page_token=token)
            pages += page
            token = page.token
            if not token:
                break
        assert self.name in [one.name for one in pages]

    def set_registered_model_tag(self) -> None:
        self.version()
        self.client.set_registered_model_tag(self.name, "stage", "gold")
        assert self.client.get_registered_model(self.name).tags == {"team": "a", "stage": "gold"}

    def delete_registered_model_tag(self) -> None:
        self.version()
        self.client.delete_registered_model_tag(self.name, "team")
        assert self.client.get_registered_model(self.name).tags == {}

    def create_model_version(self) -> None:
        made = self.version()
        assert (made.name, str(made.version), made.run_id) == (self.name, "1", self.logged.run_id)
        assert made.tags == {"k": "v"}
        assert str(self.another_version().version) == "2"

    def copy_model_version(self) -> None:
        self.version()
        copied = self.client.copy_model_version(f"models:/{self.name}/1", f"{self.name}_copy")
        assert (copied.name, str(copied.version)) == (f"{self.name}_copy", "1")
        loaded = mlflow.pyfunc.load_model(f"models:/{self.name}_copy/1")
        assert loaded.predict(pd.DataFrame({"x": [4.0]}))["x"].tolist() == [8.0]

    def get_model_version(self) -> None:
        self.version()
        found = self.client.get_model_version(self.name, "1")
        assert (found.name, str(found.version), found.status) == (self.name, "1", "READY")
        assert (found.run_id, found.tags) == (self.logged.run_id, {"k": "v"})
        with pytest.raises(MlflowException) as refusal:
            self.client.get_model_version(self.name, "7")
        assert refusal.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    def get_model_version_download_uri(self) -> None:
        self.version()
        uri = self.client.get_model_version_download_uri(self.name, "1")
        folder = Path(mlflow.artifacts.download_artifacts(uri))
        assert (folder / "MLmodel").is_file()

    def get_model_version_stages(self) -> None:
        self.version()
        assert "Production" in self.client.get_model_version_stages(self.name, "1")

    def search_model_versions(self) -> None:
        self.version()
        self.another_version()
        found = self.client.search_model_versions(f"name='{self.name}'")
        assert sorted(str(one.version) for one in found) == ["1", "2"]
        assert {one.status for one in found} == {"READY"}
        of_run = self.client.search_model_versions(f"run_id='{self.logged.run_id}'")
        assert self.name in {one.name for one in of_run}

    def update_model_version(self) -> None:
        self.version()
        assert self.client.update_model_version(self.name, "1", "described").description == "described"
        assert self.client.get_model_version(self.name, "1").description == "described"

    def delete_model_version(self) -> None:
        self.version()
        self.client.delete_model_version(self.name, "1")
        with pytest.raises(MlflowException) as refusal:
            self.client.get_model_version(self.name, "1")
        assert refusal.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    def set_model_version_tag(self) -> None:
        self.version()
        self.client.set_model_version_tag(self.name, "1", "validated", "yes")
        assert self.client.get_model_version(self.name, "1").tags == {"k": "v", "validated": "yes"}

    def delete_model_version_tag(self) -> None:
        self.version()
        self.client.delete_model_version_tag(self.name, "1", "k")
        assert self.client.get_model_version(self.name, "1").tags == {}


class UnityCatalog(Cases):
    """Aliases and prompts, and no stages."""

    def set_registered_model_alias(self) -> None:
        self.version()
        self.client.set_registered_model_alias(self.name, "champion", "1")
        assert self.client.get_registered_model(self.name).aliases == {"champion": "1"}
        assert self.client.get_model_version(self.name, "1").aliases == ["champion"]
        loaded = mlflow.pyfunc.load_model(f"models:/{self.name}@champion")
        assert loaded.predict(pd.DataFrame({"x": [4.0]}))["x"].tolist() == [8.0]
        with pytest.raises(MlflowException):
            self.client.set_registered_model_alias(self.name, "champion", "9")

    def get_model_version_by_alias(self) -> None:
        self.version()
        self.client.set_registered_model_alias(self.name, "champion", "1")
        assert self.client.get_model_version_by_alias(self.name, "champion").version == "1"
        with pytest.raises(MlflowException):
            self.client.get_model_version_by_alias(self.name, "challenger")

    def delete_registered_model_alias(self) -> None:
        self.version()
        self.client.set_registered_model_alias(self.name, "champion", "1")
        self.client.delete_registered_model_alias(self.name, "champion")
        assert self.client.get_registered_model(self.name).aliases == {}

    def transition_model_version_stage(self) -> None:
        self.version()
        with pytest.raises(MlflowException, match="unsupported for models in the Unity Catalog"):
            self.client.transition_model_version_stage(self.name, "1", "Production")

    def get_latest_versions(self) -> None:
        self.version()
        with pytest.raises(MlflowException, match="unsupported for models in the Unity Catalog"):
            self.client.get_latest_versions(self.name)

    def create_webhook(self) -> None:
        with pytest.raises((MlflowException, NotImplementedError)):
            self.client.create_webhook(self.name, "https://example.com/hook", ["registered_model.created"])

    def get_webhook(self) -> None:
        with pytest.raises((MlflowException, NotImplementedError)):
            self.client.get_webhook("w")

    def list_webhooks(self) -> None:
        with pytest.raises((MlflowException, NotImplementedError)):
            self.client.list_webhooks()

    def update_webhook(self) -> None:
        with pytest.raises((MlflowException, NotImplementedError)):
            self.client.update_webhook("w", description="d")

    def delete_webhook(self) -> None:
        with pytest.raises((MlflowException, NotImplementedError)):
            self.client.delete_webhook("w")

    def test_webhook(self) -> None:
        with pytest.raises((MlflowException, NotImplementedError)):
            self.client.test_webhook("w")

    def prompt(self) -> None:
        self.client.register_prompt(self.name, "Hello {{who}}", commit_message="first", tags={"lang": "en"})

    def register_prompt(self) -> None:
        made = self.client.register_prompt(self.name, "Hello {{who}}", commit_message="first", tags={"lang": "en"})
        assert (made.name, int(made.version), made.template) == (self.name, 1, "Hello {{who}}")
        again = self.client.register_prompt(self.name, [{"role": "user", "content": "Hi {{who}}"}])
        assert int(again.version) == 2
        assert again.template == [{"role": "user", "content": "Hi {{who}}"}]

    def load_prompt(self) -> None:
        self.prompt()
        assert self.client.load_prompt(f"prompts:/{self.name}/1").format(who="Ann") == "Hello Ann"
        assert self.client.load_prompt(f"prompts:/{self.name}/9", allow_missing=True) is None

    def create_prompt(self) -> None:
        made = self.client.create_prompt(self.name, description="greets", tags={"a": "b"})
        assert (made.name, made.description) == (self.name, "greets")

    def get_prompt(self) -> None:
        self.client.create_prompt(self.name, description="greets", tags={"a": "b"})
        found = self.client.get_prompt(self.name)
        assert found is not None
        assert (found.name, found.description) == (self.name, "greets")
        assert self.client.get_prompt(f"{self.name}_not") is None

    def delete_prompt(self) -> None:
        self.client.create_prompt(self.name)
        self.client.delete_prompt(self.name)
        assert self.client.get_prompt(self.name) is None

    def create_prompt_version(self) -> None:
        self.client.create_prompt(self.name)
        made = self.client.create_prompt_version(self.name, "Hi {{who}}", description="one")
        assert (int(made.version), made.template) == (1, "Hi {{who}}")

    def get_prompt_version(self) -> None:
        self.prompt()
        found = self.client.get_prompt_version(self.name, "1")
        assert found is not None
        assert (found.template, found.commit_message) == ("Hello {{who}}", "first")
        assert found.tags["lang"] == "en"
        assert self.client.get_prompt_version(self.name, "9") is None

    def get_prompt_version_by_alias(self) -> None:
        self.prompt()
        self.client.set_prompt_alias(self.name, "live", 1)
        assert int(self.client.get_prompt_version_by_alias(self.name, "live").version) == 1

    def set_prompt_alias(self) -> None:
        self.prompt()
        self.client.set_prompt_alias(self.name, "live", 1)
        assert self.client.load_prompt(f"prompts:/{self.name}@live").template == "Hello {{who}}"

    def delete_prompt_alias(self) -> None:
        self.prompt()
        self.client.set_prompt_alias(self.name, "live", 1)
        self.client.delete_prompt_alias(self.name, "live")
        with pytest.raises(MlflowException):
            self.client.get_prompt_version_by_alias(self.name, "live")

    def delete_prompt_version(self) -> None:
        self.prompt()
        self.client.delete_prompt_version(self.name, "1")
        assert self.client.get_prompt_version(self.name, "1") is None

    def search_prompt_versions(self) -> None:
        self.prompt()
        self.client.register_prompt(self.name, "Hi {{who}}")
        found = self.client.search_prompt_versions(self.name)
        assert sorted(int(one.version) for one in found) == [1, 2]

    def search_prompts(self) -> None:
        self.prompt()
        catalog, schema, _ = self.name.split(".")
        found = self.client.search_prompts(f"catalog = '{catalog}' AND schema = '{schema}'")
        assert self.name in [one.name for one in found]
        assert self.name not in [one.name for one in self.client.search_registered_models()]

    def set_prompt_tag(self) -> None:
        self.client.create_prompt(self.name)
        self.client.set_prompt_tag(self.name, "team", "a")

    def delete_prompt_tag(self) -> None:
        self.client.create_prompt(self.name, tags={"team": "a"})
        self.client.delete_prompt_tag(self.name, "team")

    def set_prompt_version_tag(self) -> None:
        self.prompt()
        self.client.set_prompt_version_tag(self.name, 1, "good", "yes")
        found = self.client.get_prompt_version(self.name, 1)
        assert found is not None
        assert found.tags["good"] == "yes"

    def delete_prompt_version_tag(self) -> None:
        self.prompt()
        self.client.delete_prompt_version_tag(self.name, 1, "lang")
        found = self.client.get_prompt_version(self.name, 1)
        assert found is not None
        assert "lang" not in found.tags

    def link_prompt_version_to_run(self) -> None:
        self.prompt()
        self.client.link_prompt_version_to_run(self.logged.run_id, f"prompts:/{self.name}/1")

    def link_prompt_version_to_model(self) -> None:
        self.prompt()
        self.client.link_prompt_version_to_model(self.name, "1", self.logged.model_id)

    def link_prompt_versions_to_trace(self) -> None:
        self.prompt()
        with mlflow.start_span("asks") as span:
            trace = span.trace_id
        mlflow.flush_trace_async_logging()
        found = self.client.get_prompt_version(self.name, "1")
        assert found is not None
        self.client.link_prompt_versions_to_trace([found], trace)

    def detach_prompt_from_run(self) -> None:
        # The client looks for a tag of MLflow's own registry, which no prompt in Unity Catalog has.
        self.prompt()
        with pytest.raises(MlflowException):
            self.client.detach_prompt_from_run(self.logged.run_id, f"prompts:/{self.name}/1")

    def list_logged_prompts(self) -> None:
        # The client asks with a filter on tags, which Unity Catalog does not take.
        with pytest.raises(MlflowException):
            self.client.list_logged_prompts(self.logged.run_id)


class Workspace(Cases):
    """Stages, and neither aliases nor prompts."""

    def transition_model_version_stage(self) -> None:
        self.version()
        self.another_version()
        self.client.transition_model_version_stage(self.name, "1", "Production")
        moved = self.client.transition_model_version_stage(self.name, "2", "Production", True)
        assert moved.current_stage == "Production"
        assert self.client.get_model_version(self.name, "1").current_stage == "Archived"
        loaded = mlflow.pyfunc.load_model(f"models:/{self.name}/Production")
        assert loaded.predict(pd.DataFrame({"x": [4.0]}))["x"].tolist() == [8.0]

    def get_latest_versions(self) -> None:
        self.version()
        self.another_version()
        self.client.transition_model_version_stage(self.name, "1", "Staging")
        assert {one.current_stage: one.version for one in self.client.get_latest_versions(self.name)} == {
            "None": "2",
            "Staging": "1",
        }
        assert [one.version for one in self.client.get_latest_versions(self.name, ["Staging"])] == ["1"]

    def set_registered_model_alias(self) -> None:
        self.version()
        with pytest.raises(MlflowException, match="unsupported for models in the Workspace Model Registry"):
            self.client.set_registered_model_alias(self.name, "champion", "1")

    def delete_registered_model_alias(self) -> None:
        self.version()
        with pytest.raises(MlflowException, match="unsupported for models in the Workspace Model Registry"):
            self.client.delete_registered_model_alias(self.name, "champion")

    def get_model_version_by_alias(self) -> None:
        with pytest.raises(MlflowException, match="unsupported for models in the Workspace Model Registry"):
            self.client.get_model_version_by_alias(self.name, "champion")

    def copy_model_version(self) -> None:
        super().copy_model_version()
        moved = self.client.copy_model_version(f"models:/{self.name}/1", f"main.default.{self.name}")
        assert (moved.name, moved.version) == (f"main.default.{self.name}", "1")
        mlflow.set_registry_uri("databricks-uc")
        loaded = mlflow.pyfunc.load_model(f"models:/main.default.{self.name}/1")
        assert loaded.predict(pd.DataFrame({"x": [4.0]}))["x"].tolist() == [8.0]

    def create_webhook(self) -> None:
        # Nothing here causes that event, so that nothing is sent there.
        made = self.client.create_webhook(self.name, ELSEWHERE, ["budget_policy.exceeded"])
        assert self.client.get_webhook(made.webhook_id).url == ELSEWHERE
        assert made.webhook_id in [one.webhook_id for one in self.client.list_webhooks()]
        assert self.client.update_webhook(made.webhook_id, description="d").description == "d"
        self.client.delete_webhook(made.webhook_id)
        with pytest.raises(MlflowException):
            self.client.get_webhook(made.webhook_id)

    get_webhook = list_webhooks = update_webhook = delete_webhook = create_webhook

    def test_webhook(self) -> None:
        with pytest.raises(MlflowException) as refusal:
            self.client.test_webhook("00000000-0000-0000-0000-000000000000")
        assert refusal.value.error_code == "RESOURCE_DOES_NOT_EXIST"


PROMPTS = sorted(name for name in METHODS if "prompt" in name)


@pytest.mark.parametrize("method", METHODS)
def test_method_with_unity_catalog(server: Server, logged: mlflow.models.model.ModelInfo, method: str) -> None:
    mlflow.set_registry_uri("databricks-uc")
    client = MlflowClient(tracking_uri="databricks", registry_uri="databricks-uc")
    getattr(UnityCatalog(client, f"main.default.{method}", logged), method)()


@pytest.mark.parametrize("method", sorted({*METHODS} - {*PROMPTS}))
def test_method_with_the_workspace_registry(
    server: Server, logged: mlflow.models.model.ModelInfo, method: str
) -> None:
    mlflow.set_registry_uri("databricks")
    client = MlflowClient(tracking_uri="databricks", registry_uri="databricks")
    getattr(Workspace(client, f"{method}_of_workspace", logged), method)()


@pytest.mark.parametrize("method", PROMPTS)
def test_the_workspace_registry_has_no_prompts(server: Server, method: str) -> None:
    mlflow.set_registry_uri("databricks")
    client = MlflowClient(tracking_uri="databricks", registry_uri="databricks")
    needed = [
        one
        for one in inspect.signature(getattr(client, method)).parameters.values()
        if one.default is inspect.Parameter.empty
    ]
    with pytest.raises((MlflowException, NotImplementedError)):
        getattr(client, method)(*["prompts:/a/1" for _ in needed])


def test_a_name_without_catalog_and_schema_is_refused_with_the_way_out(server: Server) -> None:
    client = MlflowClient(tracking_uri="databricks", registry_uri="databricks-uc")
    with pytest.raises(MlflowException, match="set the Model Registry URI to 'databricks'"):
        client.create_registered_model("churn")
