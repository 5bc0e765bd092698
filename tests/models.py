"""Small models, logged and registered as users do it: through the server's own MLflow API."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
from lightgbm import LGBMRegressor
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel
from onnx import TensorProto, helper
from server import Server
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler
from xgboost import XGBRegressor

OTHER_PINS = ("six==1.16.0", "cloudpickle==3.1.1")
"""Requirements that the server's own environment does not satisfy, so that `uv` builds one."""

MISSING_PACKAGE = "nosuchpackage-moorage==9.9.9"


@dataclass(frozen=True)
class Registered:
    """A registered model: `rows` is input that it understands, with several rows."""

    name: str
    version: str
    uri: str
    rows: Any = None


@dataclass(frozen=True)
class Logged:
    """What logging a model gave: its URI, and rows to query it with."""

    info: Any
    rows: Any = None


class Registry:
    """Registers each model at most once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[str, Registered] = {}

    def register(self, kind: str) -> Registered:
        """Log and register `MODELS[kind]` as `main.default.<kind>`."""
        if kind not in self._known:
            with self._server.as_client(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
                name = f"main.default.{kind}"
                with mlflow.start_run(experiment_id=self._experiment()):
                    logged = MODELS[kind](name)
                version = str(logged.info.registered_model_version)
                self._known[kind] = Registered(name, version, logged.info.model_uri, logged.rows)
        return self._known[kind]

    @staticmethod
    def _experiment() -> str:
        found = mlflow.get_experiment_by_name("tests")
        return found.experiment_id if found is not None else mlflow.create_experiment("tests")


def own_predictions(server: Server, model: Registered, rows: Any, params: dict[str, Any] | None = None) -> Any:
    """What the model itself answers, as the JSON that MLflow writes for it."""
    from mlflow.pyfunc import scoring_server

    with server.as_client(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = mlflow.pyfunc.load_model(model.uri).predict(rows, params=params)
    text = io.StringIO()
    scoring_server.predictions_to_json(answer, text)
    return json.loads(text.getvalue())["predictions"]


def pins(*packages: str) -> list[str]:
    """Requirements that pin packages, and always MLflow, to what is installed here."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", *packages)]


def iris(name: str) -> Logged:
    features, target = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=500).fit(features, target)
    info = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(2),
        registered_model_name=name,
        pip_requirements=pins("scikit-learn"),
    )
    return Logged(info, features.iloc[::20].reset_index(drop=True))


def mixed(name: str) -> Logged:
    """A pipeline over a double, a long, a string, a boolean and a datetime column."""
    count = 40
    rows = pd.DataFrame(
        {
            "price": np.linspace(0.5, 99.5, count),
            "rooms": np.arange(count, dtype="int64") % 7,
            "city": pd.Series([("Bergen", "Oslo", "Tromsø")[i % 3] for i in range(count)], dtype=object),
            "sold": np.arange(count) % 2 == 0,
            "listed": pd.date_range("2024-01-01 08:30:00", periods=count, freq="36h").astype("datetime64[ns]"),
        }
    )
    target = rows["price"] * 3 + rows["rooms"] - 5 * rows["sold"] + rows["listed"].dt.dayofyear
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["price", "rooms"]),
            ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("sold", "passthrough", ["sold"]),
            ("listed", KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear"), ["listed"]),
        ]
    )
    model = make_pipeline(columns, LinearRegression()).fit(rows, target)
    info = mlflow.sklearn.log_model(
        model,
        name="model",
        serialization_format="cloudpickle",
        signature=infer_signature(rows, model.predict(rows)),
        input_example=rows.head(2),
        registered_model_name=name,
        pip_requirements=pins("scikit-learn", "cloudpickle"),
    )
    return Logged(info, rows.head(6))


def xgboost(name: str) -> Logged:
    features, target = load_diabetes(return_X_y=True, as_frame=True)
    model = XGBRegressor(n_estimators=15, max_depth=3, n_jobs=1).fit(features, target)
    info = mlflow.xgboost.log_model(
        model,
        name="model",
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(2),
        registered_model_name=name,
        pip_requirements=pins("xgboost", "scikit-learn"),
    )
    return Logged(info, features.head(5))


def lightgbm(name: str) -> Logged:
    features, target = load_diabetes(return_X_y=True, as_frame=True)
    model = LGBMRegressor(n_estimators=15, n_jobs=1, verbose=-1).fit(features, target)
    info = mlflow.lightgbm.log_model(
        model,
        name="model",
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(2),
        registered_model_name=name,
        pip_requirements=pins("lightgbm", "scikit-learn"),
    )
    return Logged(info, features.head(5))


def with_params(name: str) -> Logged:
    """A Python model whose answer depends on params and on its model config."""

    class Scaled(PythonModel):
        def predict(self, context, model_input, params=None):
            unit = context.model_config["unit"]
            values = model_input["x"] * params["factor"] + params["offset"]
            return [f"{value:g} {unit}" for value in values]

    rows = pd.DataFrame({"x": [1.0, 2.5, -4.0]})
    signature = infer_signature(rows, ["1 m"], params={"factor": 2.0, "offset": 1})
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=Scaled(),
        model_config={"unit": "m"},
        signature=signature,
        registered_model_name=name,
        pip_requirements=pins(),
    )
    return Logged(info, rows)


def tensor(name: str) -> Logged:
    """An ONNX model over one unnamed tensor of four columns."""
    generator = np.random.default_rng(7)
    weights = generator.normal(size=(4, 2)).astype("float32")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Sigmoid", ["xw"], ["y"])],
        "two-neurons",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.flatten().tolist())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    rows = generator.normal(size=(5, 4)).astype("float32")
    info = mlflow.onnx.log_model(
        model,
        name="model",
        signature=infer_signature(rows, np.zeros((5, 2), "float32")),
        registered_model_name=name,
        pip_requirements=pins("onnx", "onnxruntime"),
    )
    return Logged(info, rows)


def no_signature(name: str) -> Logged:
    class Totals(PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input.sum(axis=1).to_numpy()

    return Logged(_log(name, Totals()), pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.25, 10.0]}))


def own_environment(name: str) -> Logged:
    """Says which versions it runs with; they differ from the server's."""

    class Versions(PythonModel):
        def predict(self, context, model_input, params=None):
            import cloudpickle
            import six

            return [f"six {six.__version__}, cloudpickle {cloudpickle.__version__}"] * len(model_input)

    return Logged(_log(name, Versions(), OTHER_PINS), pd.DataFrame({"a": [1, 2]}))


def same_environment(name: str) -> Logged:
    """Another model of the same requirements."""

    class Doubled(PythonModel):
        def predict(self, context, model_input, params=None):
            return (model_input * 2).to_dict("records")

    return Logged(_log(name, Doubled(), OTHER_PINS), pd.DataFrame({"a": [1, 2]}))


def cannot_install(name: str) -> Logged:
    class Echo(PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input

    return Logged(_log(name, Echo(), (MISSING_PACKAGE,)))


def load_raises(name: str) -> Logged:
    class Unloadable(PythonModel):
        def load_context(self, context):
            print("looking for the weights")
            raise RuntimeError("the weights are missing")

        def predict(self, context, model_input, params=None):
            return model_input

    return Logged(_log(name, Unloadable()))


def as_told(name: str) -> Logged:
    """Takes LOAD_SECONDS to load, and fails then when there is LOAD_FAILS; takes PREDICT_SECONDS to predict."""

    class AsTold(PythonModel):
        def load_context(self, context):
            import os
            import time

            time.sleep(float(os.environ.get("LOAD_SECONDS", "0")))
            if "LOAD_FAILS" in os.environ:
                raise RuntimeError("told to")

        def predict(self, context, model_input, params=None):
            import os
            import time

            time.sleep(float(os.environ.get("PREDICT_SECONDS", "0")))
            return model_input.sum(axis=1).to_numpy()

    return Logged(_log(name, AsTold()), pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.25, 10.0]}))


def misbehaves(name: str) -> Logged:
    """Does what the column `do` of its first row says."""

    class Misbehaving(PythonModel):
        def predict(self, context, model_input, params=None):
            import os
            import sys

            wish = str(model_input["do"].iloc[0])
            print(f"asked to {wish}", flush=True)
            if wish == "raise":
                raise ValueError("the reason")
            if wish == "sys.exit":
                sys.exit(3)
            if wish == "os._exit":
                os._exit(9)
            return [wish] * len(model_input)

    return Logged(_log(name, Misbehaving()), pd.DataFrame({"do": ["answer", "answer"]}))


def traced(name: str) -> Logged:
    """Answers with the trace that it was called in."""

    class Traced(PythonModel):
        def predict(self, context, model_input, params=None):
            from opentelemetry import trace

            here = trace.get_current_span().get_span_context()
            return [f"{here.trace_id:032x} {here.span_id:016x}"] * len(model_input)

    return Logged(_log(name, Traced()), pd.DataFrame({"a": [1]}))


def _log(name: str, model: PythonModel, requirements: tuple[str, ...] = ()) -> Any:
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=model,
        registered_model_name=name,
        pip_requirements=[*pins(), *requirements],
    )


MODELS: dict[str, Callable[[str], Logged]] = {
    one.__name__: one
    for one in (
        iris,
        mixed,
        xgboost,
        lightgbm,
        with_params,
        tensor,
        no_signature,
        own_environment,
        same_environment,
        cannot_install,
        load_raises,
        as_told,
        misbehaves,
        traced,
    )
}
