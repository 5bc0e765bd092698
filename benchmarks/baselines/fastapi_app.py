"""A model server written by hand: FastAPI around the bare scikit-learn model, no pandas, no schema, no auth.

`BENCHMARK_MODEL` is the pickled model. Answers `{"predictions": [...]}` to `dataframe_split` at `/invocations`.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request

app = FastAPI()
model = pickle.loads(Path(os.environ["BENCHMARK_MODEL"]).read_bytes())


@app.get("/ping")
async def ping() -> dict[str, str]:
    """Up."""
    return {"status": "ok"}


@app.post("/invocations")
async def invocations(request: Request) -> dict[str, Any]:
    """Predict the rows of the body."""
    body = await request.json()
    rows = np.asarray(body["dataframe_split"]["data"], dtype=float)
    return {"predictions": model.predict(rows).tolist()}
