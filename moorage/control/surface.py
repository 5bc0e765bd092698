"""What holds for every route: one path form, JSON bodies, and one error shape."""

from __future__ import annotations

import json
import logging
import secrets
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moorage.api.errors import ApiError, BadRequest, EndpointNotFound, InternalError, TemporarilyUnavailable
from moorage.api.files import SIGNED_PATH
from moorage.api.validation import error_from
from moorage.control.store.engine import is_unavailable

_logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"
_ROOT = "/api/2.0"
_ROOT_OF_PAGES = "/ajax-api/2.0"
_WITHOUT_ROOT = ("/preview/mlflow/", "/preview/model-serving-api/", "/mlflow/databricks/")
_REQUEST_INFO = "type.googleapis.com/google.rpc.RequestInfo"


class Surface:
    """The outermost layer of the application.

    The older API may be asked without `/api/2.0`, as its documentation writes it, and pages ask under `/ajax-api`. A
    trailing slash is dropped instead of redirected, because MLflow sends one and clients do not follow
    redirects with their credential. Bodies are JSON whatever their content type says, as curl sends them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requested = scope["path"]
        inner = {**scope, "path": _path(requested), "headers": list(scope["headers"])}
        inner["state"] = {**scope.get("state", {}), "requested_path": requested}
        MutableHeaders(scope=inner)["content-type"] = "application/json"
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(inner, receive, watch)
        except Exception as error:
            if started:
                raise
            request_id = Headers(scope=scope).get(REQUEST_ID_HEADER) or secrets.token_hex(16)
            await _answer(_failure(error, request_id, scope))(inner, receive, send)


def _path(requested: str) -> str:
    """The one path of a route, whichever of its forms is asked for."""
    path = requested.rstrip("/") or "/"
    if path.startswith(_WITHOUT_ROOT):
        return f"{_ROOT}{path}"
    return f"{_ROOT}{path.removeprefix(_ROOT_OF_PAGES)}" if path.startswith(f"{_ROOT_OF_PAGES}/") else path


def install_error_handlers(app: FastAPI) -> None:
    """Make every failure that the framework knows of an answer of the one shape."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


def _failure(error: Exception, request_id: str, scope: Scope) -> ApiError:
    if is_unavailable(error):
        _logger.warning("database unavailable for %s %s [%s]", scope["method"], _logged(scope), request_id)
        return TemporarilyUnavailable("The database is busy")
    _logger.error("%s %s failed [%s]", scope["method"], _logged(scope), request_id, exc_info=error)
    details = [{"@type": _REQUEST_INFO, "request_id": request_id, "serving_data": ""}]
    return InternalError(f"Internal error; request id {request_id}", details=details)


def _logged(scope: Scope) -> str:
    """The path, without what opens a file to whoever reads it."""
    path: str = scope["path"]
    return f"{SIGNED_PATH}..." if path.startswith(SIGNED_PATH) else path


def _answer(error: ApiError) -> Response:
    # Escaped to ASCII: a message may quote a field's name, which may hold what UTF-8 cannot.
    text = json.dumps(error.body())
    return Response(text, status_code=error.status, headers=error.headers, media_type="application/json")


async def _on_api_error(_request: Request, error: Exception) -> Response:
    return _answer(cast(ApiError, error))


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    return _answer(error_from(cast(RequestValidationError, error).errors()))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if cast(HTTPException, error).status_code in (404, 405):
        path = request.state.requested_path
        return _answer(EndpointNotFound(f"No API found for '{request.method} {path}'"))
    return _answer(BadRequest("Could not parse request object: the body cannot be read as JSON"))
