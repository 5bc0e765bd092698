"""The web UI's files, as they were built into the package."""

from __future__ import annotations

from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response as StarletteResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

import moorage

BUNDLE = Path(moorage.__file__).parent / "web"
_HEADERS = {
    # Components and the editor place their elements with style attributes.
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NOT_BUILT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Moorage</title></head>
<body><main><h1>Moorage</h1><p>The API is served here. The web UI is not: this installation has no built copy of it.
</p><p>In a checkout, build it with <code>make web</code> (or <code>python web/build.py</code>) and load this page
again. Wheels of Moorage have it built in.</p></main></body></html>"""


def is_built(bundle: Path) -> bool:
    return (bundle / "index.html").is_file()


def page(bundle: Path) -> Response:
    """The one document of the UI, for whatever path of it; or a word on how to build it."""
    headers = {**_HEADERS, "Cache-Control": "no-cache"}
    if not is_built(bundle):
        return HTMLResponse(_NOT_BUILT, status_code=503, headers=headers)
    return FileResponse(bundle / "index.html", media_type="text/html", headers=headers)


def icon(bundle: Path) -> Response:
    if not is_built(bundle):
        raise HTTPException(404)
    return FileResponse(bundle / "favicon.svg", media_type="image/svg+xml", headers=_HEADERS)


class _Assets(StaticFiles):
    """Files whose names change with what is in them, so that a browser keeps them."""

    async def check_config(self) -> None:
        if not Path(self.directory or "").is_dir():
            raise HTTPException(404)  # not built, or not yet

    async def get_response(self, path: str, scope: Scope) -> StarletteResponse:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def assets(bundle: Path) -> ASGIApp:
    """The application at `/assets`; it may be built while the server runs."""
    return GZipMiddleware(_Assets(directory=bundle / "assets", check_dir=False), minimum_size=1024)
