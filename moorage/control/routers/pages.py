"""The web UI. Each of its paths is the same document; the program in it reads the path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from moorage.api.pages import ICON_PATH
from moorage.control.pages import icon, page

router = APIRouter(tags=["pages"])


def _bundle(request: Request) -> Path:
    return cast(Path, request.app.state.bundle)


Bundle = Annotated[Path, Depends(_bundle)]


@router.get("/ml/experiments")
@router.get("/ml/experiments/{path:path}")
def experiment(request: Request) -> Response:
    """Where MLflow's client says that a run, a logged model or an experiment is: on MLflow's own pages."""
    return RedirectResponse(f"/mlflow/#{quote(request.url.path.removeprefix('/ml'))}")


@router.get("/explore/data/models/{catalog}/{schema}/{model}")
@router.get("/explore/data/models/{catalog}/{schema}/{model}/version/{version}")
def model_in_catalog(catalog: str, schema: str, model: str) -> Response:
    """Where MLflow's client says that a version in Unity Catalog is."""
    return RedirectResponse(f"/ml/models/{quote(f'{catalog}.{schema}.{model}', safe='')}")


@router.get("/")
@router.get("/ml")
@router.get("/ml/{path:path}")
@router.get("/settings")
@router.get("/settings/{path:path}")
def web_ui(bundle: Bundle) -> Response:
    return page(bundle)


@router.get(ICON_PATH)
def web_icon(bundle: Bundle) -> Response:
    return icon(bundle)
