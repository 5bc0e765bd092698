"""Registered models that are served by stage, for tests of the older API."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, Schema
from models import pins
from server import Json, Server, wait_for

V2 = "/api/2.0/preview/mlflow/endpoints-v2"
TRANSITION = "/api/2.0/mlflow/databricks/model-versions/transition-stage"
ROWS = {"dataframe_records": [{"x": 1.0}, {"x": 2.0}]}

Log = Callable[[], Any]


class Gates:
    """Files that a model looks for when it loads: those are how a test holds it up, or has it fail."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, answer: int) -> str:
        return str(self._folder / str(answer))

    @contextmanager
    def held(self, answer: int) -> Iterator[None]:
        """The model of that answer is not done with loading for the time of the block."""
        with self._file(f"{answer}.hold"):
            yield

    @contextmanager
    def broken(self, answer: int) -> Iterator[None]:
        """The model of that answer cannot be loaded for the time of the block."""
        with self._file(f"{answer}.fail"):
            yield

    @contextmanager
    def _file(self, name: str) -> Iterator[None]:
        path = self._folder / name
        path.touch(0o644)
        try:
            yield
        finally:
            path.unlink()


@contextmanager
def gates() -> Iterator[Gates]:
    """Models may run as users of their own, so that the folder is one which everybody can read."""
    folder = Path(tempfile.mkdtemp(prefix="mrg-gates-"))
    folder.chmod(0o755)
    try:
        yield Gates(folder)
    finally:
        shutil.rmtree(folder)


def answering(answer: int, gates: Gates) -> Log:
    """Logs a model that answers every row with `answer`, and loads when its gate lets it."""
    gate = gates.path(answer)

    class Answering(PythonModel):
        def load_context(self, context):
            import os
            import time

            while os.path.exists(f"{gate}.hold"):
                time.sleep(0.02)
            if os.path.exists(f"{gate}.fail"):
                raise RuntimeError("the weights are missing")

        def predict(self, context, model_input, params=None):
            print(f"asked for {len(model_input)} rows")
            return [answer] * len(model_input)

    signature = ModelSignature(Schema([ColSpec("double", "x")]))
    return lambda: mlflow.pyfunc.log_model(
        name="model", python_model=Answering(), signature=signature, pip_requirements=pins()
    )


class Sources:
    """Models that are logged once and registered under any number of names."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._logged: dict[str, str] = {}

    def register(self, name: str, *kinds: tuple[str, Log]) -> None:
        """Make the registered model `name` with a version of each kind, in that order, or give it further ones."""
        with self._server.as_client(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
            for kind, log in kinds:
                if kind not in self._logged:
                    with mlflow.start_run(experiment_id=self._experiment()):
                        self._logged[kind] = log().model_uri
                mlflow.register_model(self._logged[kind], name)

    @staticmethod
    def _experiment() -> str:
        found = mlflow.get_experiment_by_name("tests")
        return found.experiment_id if found is not None else mlflow.create_experiment("tests")


@dataclass(frozen=True)
class StagedModel:
    """A registered model as clients of the older API deal with it."""

    server: Server
    name: str

    @property
    def given(self) -> dict[str, str]:
        return {"registered_model_name": self.name}

    def read(self, what: str, **given: str) -> Json:
        """The answer to a GET."""
        answer = self.server.http.get(f"{V2}/{what}", params={**self.given, **given})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def tell(self, what: str, **given: Any) -> None:
        """A POST that answers nothing."""
        answer = self.server.http.post(f"{V2}/{what}", json={**self.given, **given})
        assert (answer.status_code, answer.json()) == (200, {}), answer.text

    def enable(self) -> None:
        self.tell("enable")

    def disable(self) -> None:
        self.tell("disable")

    def move(self, version: int, stage: str, *, archive: bool = False) -> Json:
        body = {"name": self.name, "version": str(version), "stage": stage, "archive_existing_versions": archive}
        answer = self.server.http.post(TRANSITION, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["model_version_databricks"]

    def configure(self, stage: str, size: str = "Small", *, to_zero: bool = False) -> None:
        body = {
            **self.given,
            "stage": stage,
            "desired_workload_config_spec": {"workload_size_id": size, "scale_to_zero_enabled": to_zero},
        }
        answer = self.server.http.put("/preview/model-serving-api/endpoints-v2/update-compute-config", json=body)
        assert (answer.status_code, answer.json()) == (200, {}), answer.text

    def status(self) -> Json:
        return self.read("get-status")["endpoint_status"]

    def version(self, version: int) -> Json:
        return self.read("get-version-status", endpoint_version_name=str(version))["endpoint_status"]

    def states(self) -> dict[str, tuple[str, str]]:
        """For each version that is served, the state of its service and that of its newest configuration."""
        prefix = "SERVICE_STATE_"
        return {
            one["endpoint_version_name"]: (
                one["service_status"]["state"].removeprefix(prefix),
                one["config_update_status"]["state"].removeprefix(prefix),
            )
            for one in self.read("list-versions")["endpoint_statuses"]
        }

    def become(self, states: dict[str, tuple[str, str]], seconds: float = 60.0) -> None:
        """Wait until the versions do so."""
        wait_for(f"{self.name} is {states}", lambda: self.states() == states, seconds)

    def aliases(self) -> dict[str, str]:
        """The version that serves each stage."""
        found = self.read("list-version-aliases")["aliases"]
        return {one["alias"]: one["endpoint_version_name"] for one in found}

    def events(self) -> list[Json]:
        """What happened, newest first."""
        return self.read("get-event-history")["events"]

    def ask(self, stage_or_version: str | int, body: Any = ROWS, *, family: str = "model-endpoint") -> httpx.Response:
        return self.server.http.post(f"/{family}/{self.name}/{stage_or_version}/invocations", json=body)

    def answer(self, stage_or_version: str | int) -> int:
        """What a model of `answering` says there."""
        answer = self.ask(stage_or_version)
        assert answer.status_code == 200, answer.text
        first, second = answer.json()["predictions"]
        assert first == second
        return int(first)

    def refused(self, stage_or_version: str | int) -> tuple[int, str, str]:
        """The status, the code and the message."""
        answer = self.ask(stage_or_version)
        body = answer.json()
        return answer.status_code, body["error_code"], body["message"]
