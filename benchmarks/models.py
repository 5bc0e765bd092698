"""The models that are served, their request bodies, and copies of them for each server to compare."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

_TREES = ("sklearn.tree._tree.Tree",)


@dataclass(frozen=True)
class Prepared:
    """A trained model on disk. `folder` holds it as an MLflow model, `bare` as scikit-learn's alone (a pickle).

    `trusted` names the types beyond skops' own list that the file holds; it was written here a moment ago.
    """

    name: str
    folder: Path
    bare: Path
    estimator: Any
    features: Any
    signature: Any
    trusted: tuple[str, ...]

    def body(self, rows: int) -> bytes:
        """A request with that many rows as `dataframe_split`."""
        return orjson.dumps({"dataframe_split": self.frame(rows).to_dict(orient="split", index=False)})

    def single(self, row: int) -> bytes:
        """A request with one row of the data set, counted from 0."""
        frame = self.features.iloc[[row]]
        return orjson.dumps({"dataframe_split": frame.to_dict(orient="split", index=False)})

    def frame(self, rows: int) -> Any:
        """The data set's rows, from the start again when there are not enough."""
        import pandas

        times = -(-rows // len(self.features))
        return pandas.concat([self.features] * times, ignore_index=True).head(rows)

    def expected(self, rows: int) -> list[Any]:
        """What the model itself predicts for `body(rows)`."""
        predicted: list[Any] = self.estimator.predict(self.frame(rows)).tolist()
        return predicted

    def body_file(self, rows: int) -> Path:
        """The body in a file next to the model."""
        path = self.folder.parent / f"{self.name}-{rows}.json"
        path.write_bytes(self.body(rows))
        return path


class Models:
    """Trains each model when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def iris(self) -> Prepared:
        """Logistic regression on 4 columns."""
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression

        data = load_iris(return_X_y=True, as_frame=True)
        return self._prepare("iris", data, lambda: LogisticRegression(max_iter=500))

    @cached_property
    def forest(self) -> Prepared:
        """Random forest of 100 trees on 30 columns."""
        from sklearn.datasets import load_breast_cancer
        from sklearn.ensemble import RandomForestClassifier

        data = load_breast_cancer(return_X_y=True, as_frame=True)
        return self._prepare("forest", data, lambda: RandomForestClassifier(n_estimators=100, random_state=0), _TREES)

    def _prepare(
        self, name: str, data: tuple[Any, Any], make: Callable[[], Any], trusted: tuple[str, ...] = ()
    ) -> Prepared:
        quiet_mlflow()
        import mlflow.sklearn
        from mlflow.models import infer_signature

        features, classes = data
        estimator = make().fit(features, classes)
        signature = infer_signature(features, estimator.predict(features))
        folder = self._folder / name
        mlflow.sklearn.save_model(
            estimator,
            str(folder),
            signature=signature,
            input_example=features.head(2),
            skops_trusted_types=list(trusted) or None,
        )
        bare = self._folder / f"{name}.pickle"
        # Trained without column names, so that scikit-learn does not warn of their absence at every request.
        bare.write_bytes(pickle.dumps(make().fit(features.to_numpy(), classes)))
        return Prepared(name, folder, bare, estimator, features, signature, trusted)


def quiet_mlflow() -> None:
    """No telemetry, links or hints from MLflow while models are logged."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer")
