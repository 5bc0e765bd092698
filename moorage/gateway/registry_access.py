"""The gate to MLflow's model registry: the control plane says who may pass, and what of an answer they see."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import aiohttp
import orjson

from moorage.api.errors import ApiError, TemporarilyUnavailable
from moorage.api.registry_access import (
    RECORDED,
    TICKET_HEADER,
    RegistryDecision,
    RegistryRequest,
    registry_operation,
)
from moorage.api.routing import INTERNAL_HEADER, Principal

_logger = logging.getLogger(__name__)

_ASK = "http://localhost/internal/registry-access"
_SHOW = "http://localhost/internal/registry-answer"
_HEADERS = {INTERNAL_HEADER: "1"}
_SECONDS = 60.0
_RESTART_SECONDS = 15.0  # for which a control plane may be away while MLflow has done already what is to be noted
_RETRY_SECONDS = 0.2


class RefusedByControlPlane(ApiError):
    """The control plane's own answer, passed on."""

    def __init__(self, status: int, document: dict[str, str]) -> None:
        super().__init__(document["message"])
        self.status = status
        self.error_code = document["error_code"]


class RegistryGate:
    """Used by one gateway worker; `session` is the one that reaches the control plane."""

    def __init__(self, session: Callable[[], aiohttp.ClientSession]) -> None:
        self._session = session

    async def ask(self, request: RegistryRequest) -> RegistryDecision:
        """Whether the request may pass.

        Raises:
            RefusedByControlPlane: it may not.
            TemporarilyUnavailable: the control plane does not answer.
        """
        answer = await self._post(_ASK, request.model_dump_json().encode(), _HEADERS)
        return RegistryDecision.model_validate_json(answer)

    async def show(self, ticket: str, answer: bytes) -> bytes:
        """What of MLflow's answer the caller may see; the control plane notes what MLflow has done.

        MLflow cannot be asked to take it back, so a control plane that is away is waited for.

        Raises:
            RefusedByControlPlane: it cannot make sense of the answer.
            TemporarilyUnavailable: the control plane does not come back.
        """
        deadline = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                return await self._post(_SHOW, answer, {**_HEADERS, TICKET_HEADER: ticket})
            except (TemporarilyUnavailable, RefusedByControlPlane) as error:
                if error.status != TemporarilyUnavailable.status or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with self._session().post(url, data=body, headers=headers, timeout=timeout) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            _logger.warning("the control plane cannot be asked about the model registry: %s", type(error).__name__)
            raise TemporarilyUnavailable("The control plane does not answer at the moment.") from None
        if answer.status != 200:
            raise RefusedByControlPlane(answer.status, orjson.loads(content))
        return content


def gated_operation(caller: Principal, method: str, path: str) -> str | None:
    """What a request asks of MLflow's registry that the control plane has to hear of; None when it just passes.

    Administrators may do everything, so that only what changes the owner of a model is told; the control plane's own
    principal may read everything.
    """
    operation = registry_operation(path)
    if operation is None or (caller.admin and (method, operation) not in RECORDED):
        return None
    if caller.reads_every_model and method == "GET" and operation != "graphql":
        return None
    return operation
