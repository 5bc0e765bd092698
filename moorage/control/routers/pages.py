"""The web UI. Each of its paths is the same document; the program in it reads the path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response

from moorage.api.pages import ICON_PATH
from moorage.control.pages import icon, page

router = APIRouter(tags=["pages"])


def _bundle(request: Request) -> Path:
    return cast(Path, request.app.state.bundle)


Bundle = Annotated[Path, Depends(_bundle)]


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
