"""MLflow's REST API as the control plane asks it: straight, on the private socket or at the external server's URL.

What goes this way passes no gate: whoever calls has looked at the caller's rights before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import httpx

from moorage.api.errors import ApiError, InternalError, TemporarilyUnavailable

_logger = logging.getLogger(__name__)

_ROOT = "/api/2.0/mlflow/"
_SECONDS = 30.0
_REFUSED_OURSELVES = (401, 403)
# Servers close connections that are idle for 2 s (Gunicorn) or 5 s (Uvicorn): none of that age is used again.
_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=1.0)
# A server that hangs must not take every thread that answers requests, of which there are 40: many ask nothing of it.
_MOST_AT_ONCE = 24
_TURN_SECONDS = 1.0

FROM_PROXIES = (429, 502, 503, 504)
"""Without a document of MLflow's these are of what stands before an external server, and pass."""


class MlflowRefusal(ApiError):
    """MLflow refused, with its own status, `error_code` and message."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code


class MlflowApi:
    """Calls of MLflow's REST API. Threads may share it.

    `http` is a client whose base is the server, for what is no JSON.
    """

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self._turns = BoundedSemaphore(_MOST_AT_ONCE)

    @classmethod
    def on_socket(cls, path: Path) -> MlflowApi:
        """The embedded server's."""
        transport = httpx.HTTPTransport(uds=str(path), limits=_LIMITS)
        return cls(httpx.Client(base_url="http://localhost", transport=transport, timeout=_SECONDS))

    @classmethod
    def at(cls, uri: str, credential: Mapping[str, str]) -> MlflowApi:
        """An external server's. `credential` are headers."""
        return cls(httpx.Client(base_url=uri, headers=credential, timeout=_SECONDS, limits=_LIMITS))

    def call(
        self,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The answer of `METHOD /api/2.0/mlflow/PATH`. Fields and parameters that are None are left out.

        Raises:
            MlflowRefusal: MLflow's own 4xx or 5xx.
            InternalError: it refuses this server's credential, or what comes back is no JSON object.
            TemporarilyUnavailable: it does not answer, or not those who asked before.
        """
        body = None if document is None else {name: value for name, value in document.items() if value is not None}
        params = None if query is None else {name: value for name, value in query.items() if value is not None}
        if not self._turns.acquire(timeout=_TURN_SECONDS):
            _logger.warning("MLflow has not answered %d calls yet", _MOST_AT_ONCE)
            raise _unavailable()
        try:
            answer = self.http.request(
                method, f"{_ROOT}{path}", json=body, params=params, follow_redirects=method == "GET"
            )
        except httpx.TransportError as error:
            _logger.warning("MLflow cannot be reached: %s", type(error).__name__)
            raise _unavailable() from error
        finally:
            self._turns.release()
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code in _REFUSED_OURSELVES:
            _logger.error("MLflow refused the server's own credential: %s", answer.text[:500])
            raise InternalError("The model registry refused the server's credential")
        if not isinstance(found, dict) and answer.status_code in FROM_PROXIES:
            _logger.warning("MLflow cannot be reached: status %d", answer.status_code)
            raise _unavailable()
        if not isinstance(found, dict):
            _logger.error("MLflow answered %s %s with %d and no object", method, path, answer.status_code)
            raise InternalError("The model registry gave an answer that cannot be read")
        if answer.status_code != httpx.codes.OK:
            code, message = found.get("error_code", "INTERNAL_ERROR"), found.get("message", "")
            raise MlflowRefusal(answer.status_code, str(code), str(message))
        return found


def _unavailable() -> TemporarilyUnavailable:
    return TemporarilyUnavailable("The model registry does not answer", retry_after_seconds=5)
