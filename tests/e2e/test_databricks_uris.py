"""MLflow with the tracking URI `databricks`, unmodified, as it runs on Databricks with the two variables set."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.catalog import PermissionsChange, Privilege
from mlflow import MlflowClient
from server import OTHER_TOKEN, OTHER_USER, Server, running_server

NOTEBOOK = '''
import mlflow
import numpy as np
import pandas as pd
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import EndpointCoreConfigInput, ServedEntityInput
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

mlflow.set_tracking_uri("databricks")
mlflow.set_registry_uri("databricks-uc")
mlflow.set_experiment("/Users/admin@example.com/regression")

rows = pd.DataFrame({"x": np.arange(10.0), "y": np.arange(10.0) * 2})
model = LinearRegression().fit(rows, rows["x"] + 3 * rows["y"])
with mlflow.start_run() as run:
    mlflow.log_param("fit_intercept", True)
    mlflow.log_metric("mae", 0.25)
    mlflow.log_text("a note", "notes/note.txt")
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(rows, model.predict(rows)),
        input_example=rows.head(2),
        registered_model_name="main.default.m",
    )
client = mlflow.MlflowClient()
client.set_registered_model_alias("main.default.m", "champion", 1)
loaded = mlflow.pyfunc.load_model("models:/main.default.m@champion")
np.testing.assert_allclose(loaded.predict(rows), model.predict(rows))

w = WorkspaceClient()
w.serving_endpoints.create_and_wait(
    "regression",
    config=EndpointCoreConfigInput(
        name="regression",
        served_entities=[
            ServedEntityInput(
                entity_name="main.default.m",
                entity_version="1",
                workload_size="Small",
                scale_to_zero_enabled=False,
            )
        ],
    ),
)
answer = w.serving_endpoints.query("regression", dataframe_records=rows.head(3).to_dict("records"))
np.testing.assert_allclose(answer.predictions, model.predict(rows.head(3)))
print("predictions:", answer.predictions)
'''

WORKSPACE = '''
import os
import time

import mlflow
import pandas as pd
import requests
from sklearn.dummy import DummyRegressor

mlflow.set_tracking_uri("databricks")
mlflow.set_registry_uri("databricks")
mlflow.set_experiment("/Users/admin@example.com/churn")
rows = pd.DataFrame({"x": [1.0, 2.0]})
for constant in (1.0, 2.0):
    model = DummyRegressor(strategy="constant", constant=constant).fit(rows, [constant] * 2)
    with mlflow.start_run():
        mlflow.sklearn.log_model(model, name="model", input_example=rows, registered_model_name="churn")

client = mlflow.MlflowClient()
client.transition_model_version_stage("churn", "1", "Production")
assert mlflow.pyfunc.load_model("models:/churn/Production").predict(rows).tolist() == [1.0, 1.0]

host = os.environ["DATABRICKS_HOST"]
credential = {"Authorization": f"Bearer {os.environ['DATABRICKS_TOKEN']}"}


def answers(expected):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = requests.post(
            f"{host}/model/churn/Production/invocations",
            json={"dataframe_records": rows.to_dict("records")},
            headers=credential,
        )
        if answer.status_code == 200 and answer.json()["predictions"] == expected:
            return True
        time.sleep(0.2)
    raise AssertionError(answer.text)


enabled = requests.post(
    f"{host}/api/2.0/preview/mlflow/endpoints-v2/enable",
    json={"registered_model_name": "churn"},
    headers=credential,
)
enabled.raise_for_status()
assert answers([1.0, 1.0])
client.transition_model_version_stage("churn", "2", "Production", archive_existing_versions=True)
assert answers([2.0, 2.0])
assert client.get_model_version("churn", "1").current_stage == "Archived"
assert mlflow.pyfunc.load_model("models:/churn/Production").predict(rows).tolist() == [2.0, 2.0]
print("the stage moved")
'''

TRACKING = '''
import json
import pathlib

import mlflow
import pandas as pd

mlflow.set_tracking_uri("databricks")
experiment = mlflow.set_experiment("/Users/admin@example.com/tracking")
client = mlflow.MlflowClient()
pathlib.Path("folder/below").mkdir(parents=True)
pathlib.Path("folder/below/a file ü.txt").write_text("odd name")
pathlib.Path("folder/empty.bin").write_bytes(b"")
with mlflow.start_run(run_name="first", tags={"team": "a"}) as run:
    mlflow.log_params({"depth": 3, "rate": 0.1})
    for step in range(3):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_artifacts("folder", "files")
    mlflow.log_dict({"a": [1, 2]}, "documents/a.json")
    mlflow.log_table(pd.DataFrame({"x": [1, 2]}), "table.json")
    mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"x": [1, 2]}), name="rows"))
run_id = run.info.run_id

found = client.get_run(run_id)
assert found.data.params == {"depth": "3", "rate": "0.1"}
assert [one.value for one in client.get_metric_history(run_id, "loss")] == [1.0, 0.5, 1 / 3]
assert found.info.artifact_uri.startswith("dbfs:/databricks/mlflow-tracking/")
assert found.inputs.dataset_inputs[0].dataset.name == "rows"
(low,) = mlflow.search_runs([experiment.experiment_id], "metrics.loss < 0.5", output_format="list")
assert low.info.run_id == run_id
assert client.get_experiment_by_name("/Users/admin@example.com/tracking").experiment_id == experiment.experiment_id

assert sorted(one.path for one in client.list_artifacts(run_id)) == ["documents", "files", "table.json"]
assert sorted((one.path, one.is_dir, one.file_size) for one in client.list_artifacts(run_id, "files")) == [
    ("files/below", True, None),
    ("files/empty.bin", False, 0),
]
assert client.list_artifacts(run_id, "table.json") == []
assert client.list_artifacts(run_id, "nothing") == []
assert json.loads(mlflow.artifacts.load_text(f"{found.info.artifact_uri}/documents/a.json")) == {"a": [1, 2]}
back = pathlib.Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="files", dst_path="back"))
assert (back / "below" / "a file ü.txt").read_text() == "odd name"
assert (back / "empty.bin").read_bytes() == b""
assert mlflow.load_table("table.json", [run_id])["x"].tolist() == [1, 2]


@mlflow.trace
def double(x):
    return x * 2


assert double(4) == 8
trace_id = mlflow.get_last_active_trace_id()
mlflow.flush_trace_async_logging()
trace = mlflow.get_trace(trace_id)
assert [span.name for span in trace.data.spans] == ["double"]
assert trace.data.spans[0].outputs == 8
mlflow.set_trace_tag(trace_id, "good", "yes")
(found,) = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list")
assert (found.info.trace_id, found.info.tags["good"]) == (trace_id, "yes")
client.delete_run(run_id)
client.restore_run(run_id)
client.rename_experiment(experiment.experiment_id, "/Users/admin@example.com/renamed")
print("tracked", run_id)
'''


LOAD = """
import mlflow

mlflow.set_tracking_uri("databricks")
mlflow.set_registry_uri("databricks-uc")
print("loaded", mlflow.pyfunc.load_model("models:/main.default.m@champion").metadata.model_uuid is not None)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(with_other_user=True) as running:
        yield running


@pytest.fixture(scope="module")
def notebook(server: Server, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return run_script(server, tmp_path_factory.mktemp("notebook"), NOTEBOOK)


def run_script(server: Server, folder: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A Python process of a user, with nothing set but the two variables that point at the workspace."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATABRICKS_", "MLFLOW_", "MOORAGE_"))}
    env = {**kept, "DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": server.token, "HOME": str(folder), **more}
    path = folder / "notebook.py"
    path.write_text(script)
    return subprocess.run(
        [sys.executable, str(path)], env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_notebook_runs_unmodified(server: Server, notebook: subprocess.CompletedProcess[str]) -> None:
    done = notebook
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
    assert "predictions:" in done.stdout
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line and "mlflow.sklearn" not in line]
    assert warnings == []  # mlflow.sklearn warns of pickles, wherever they go


def test_stages_of_the_workspace_registry_move_what_is_served(server: Server, tmp_path: Path) -> None:
    done = run_script(server, tmp_path, WORKSPACE)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
    assert "the stage moved" in done.stdout


def test_runs_artifacts_and_traces_and_plain_mlflow_sees_the_same(server: Server, tmp_path: Path) -> None:
    done = run_script(server, tmp_path, TRACKING)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
    run_id = done.stdout.split("tracked ")[1].strip()
    with server.as_client():
        client = MlflowClient(tracking_uri=server.url)
        run = client.get_run(run_id)
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert [one.path for one in client.list_artifacts(run_id, "files/below")] == ["files/below/a file ü.txt"]
        there = client.download_artifacts(run_id, "files/below/a file ü.txt", str(tmp_path))
        assert Path(there).read_text() == "odd name"



def test_who_has_no_right_on_the_model_cannot_load_it_until_the_schema_is_shared(
    server: Server, notebook: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    assert notebook.returncode == 0
    as_admin = WorkspaceClient(host=server.url, token=server.token)
    as_other = WorkspaceClient(host=server.url, token=OTHER_TOKEN)
    file = "/Models/main/default/m/1/MLmodel"
    refused = run_script(server, tmp_path, LOAD, DATABRICKS_TOKEN=OTHER_TOKEN)
    assert refused.returncode != 0
    assert "does not have CAN_READ permission on registered model 'main.default.m'" in refused.stderr
    with pytest.raises(DatabricksError, match="CAN_READ"):
        as_other.files.download(file)
    share = PermissionsChange(principal=OTHER_USER, add=[Privilege.EXECUTE])
    as_admin.grants.update("schema", "main.default", changes=[share])
    done = run_script(server, tmp_path, LOAD, DATABRICKS_TOKEN=OTHER_TOKEN)
    assert "loaded True" in done.stdout, done.stderr
    assert b"python_function" in as_other.files.download(file).contents.read()
    with pytest.raises(DatabricksError):
        as_other.files.upload(file, io.BytesIO(b"another"), overwrite=True)
    with pytest.raises(DatabricksError):
        as_other.registered_models.delete("main.default.m")
