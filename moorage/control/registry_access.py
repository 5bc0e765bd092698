"""Who may do what with MLflow's registered models: asked by the gateways for each request that passes them.

Source of the levels: Databricks documentation, MLflow model ACLs.
"""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from moorage.api.errors import (
    BadRequest,
    EndpointNotFound,
    InternalError,
    InvalidParameterValue,
    PermissionDenied,
)
from moorage.api.permissions import ModelLevel
from moorage.api.registry_access import (
    CREATE_MODEL,
    DELETE_MODEL,
    RECORDED,
    RENAME_MODEL,
    TRANSITION,
    RegistryDecision,
    RegistryRequest,
)
from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies
from moorage.control.endpoint_rows import take_away
from moorage.control.legacy.stages import model_gone
from moorage.control.store import legacy
from moorage.control.store import registered_models as store
from moorage.control.store.engine import Sessions, reading
from moorage.identity.model_access import model_level, require_model_level

_GRAPHQL = "graphql"
_CREATE_VERSION = ("POST", "model-versions/create")
_PRODUCTION = "production"

_NEEDED = {
    ("GET", "registered-models/get"): ModelLevel.CAN_READ,
    ("GET", "registered-models/get-latest-versions"): ModelLevel.CAN_READ,
    ("POST", "registered-models/get-latest-versions"): ModelLevel.CAN_READ,
    ("GET", "registered-models/alias"): ModelLevel.CAN_READ,
    ("GET", "model-versions/get"): ModelLevel.CAN_READ,
    ("GET", "model-versions/get-download-uri"): ModelLevel.CAN_READ,
    ("GET", "model-versions/get-artifact"): ModelLevel.CAN_READ,
    ("PATCH", "registered-models/update"): ModelLevel.CAN_EDIT,
    ("POST", "registered-models/set-tag"): ModelLevel.CAN_EDIT,
    ("DELETE", "registered-models/delete-tag"): ModelLevel.CAN_EDIT,
    _CREATE_VERSION: ModelLevel.CAN_EDIT,
    ("PATCH", "model-versions/update"): ModelLevel.CAN_EDIT,
    ("POST", "model-versions/set-tag"): ModelLevel.CAN_EDIT,
    ("DELETE", "model-versions/delete-tag"): ModelLevel.CAN_EDIT,
    TRANSITION: ModelLevel.CAN_MANAGE_STAGING_VERSIONS,
    ("POST", "registered-models/alias"): ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS,
    ("DELETE", "registered-models/alias"): ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS,
    RENAME_MODEL: ModelLevel.CAN_MANAGE,
    DELETE_MODEL: ModelLevel.CAN_MANAGE,
    ("DELETE", "model-versions/delete"): ModelLevel.CAN_MANAGE,
}
_LISTS = {
    ("GET", "registered-models/search"): "registered_models",
    ("GET", "model-versions/search"): "model_versions",
}


def require_readable(sessions: Sessions, caller: Principal, names: Collection[str]) -> None:
    """Whether the caller may serve these registered models. Not for use inside a transaction.

    Raises:
        PermissionDenied: one of them the caller may not read.
    """
    with reading(sessions) as session:
        for name, rights in store.all_rights(session, names).items():
            require_model_level(caller, name, rights, ModelLevel.CAN_READ)


class _Ticket(BaseModel):
    """What is remembered of a request until its answer is there."""

    model_config = ConfigDict(frozen=True)

    principal: Principal
    method: str
    operation: str
    name: str | None = None
    new_name: str | None = None


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Gateways ask before a request passes, and show the answers for which they hold a ticket."""

    deps: ControlDependencies

    def decide(self, request: RegistryRequest) -> RegistryDecision:
        """Whether the request may pass. May ask the registry.

        Raises:
            PermissionDenied: the caller lacks a right on the model, or only administrators may do that at all.
            BadRequest, InvalidParameterValue: which model is meant cannot be said.
            EndpointNotFound: no route of the registry that is known here.
            TemporarilyUnavailable: the registry does not answer.
        """
        caller, route = request.principal, (request.method, request.operation)
        if request.operation == _GRAPHQL and request.method in ("GET", "POST"):
            rewritten = _graphql().with_model_names(request.body)
            return RegistryDecision(body=rewritten, ticket=_ticket(request) if rewritten is not None else None)
        if request.operation.partition("/")[0] == "webhooks":
            raise PermissionDenied("Only administrators may handle webhooks of the model registry.")
        if route in _LISTS:
            return RegistryDecision(ticket=_ticket(request))
        if route != CREATE_MODEL and route not in _NEEDED:
            raise EndpointNotFound(f"No API found for '{request.method} {request.operation}'")
        given = _Parameters(request.query, request.body)
        name = given.required("name")
        if route in _NEEDED:
            self._require(caller, name, _NEEDED[route])
        if route == TRANSITION and self._concerns_production(name, given):
            self._require(caller, name, ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS)
        if route == _CREATE_VERSION and (source := _source_model(given.one("source"))) is not None:
            self._require(caller, source, ModelLevel.CAN_READ)
        if route not in RECORDED:
            return RegistryDecision()
        return RegistryDecision(ticket=_ticket(request, name, given.one("new_name", "newName")))

    def review(self, ticket: str, answer: bytes) -> bytes:
        """Take note of what MLflow has done, and answer what of its answer (status 200) the caller may see.

        Raises:
            InternalError: the answer is not of the form that MLflow gives it.
        """
        held = _Ticket.model_validate_json(base64.b64decode(ticket))
        route = (held.method, held.operation)
        if route in RECORDED:
            self._record(held)
            return answer
        try:
            document = json.loads(answer)
        except ValueError as error:
            raise InternalError("The model registry gave an answer that cannot be read") from error
        if held.operation == _GRAPHQL:
            seen = _graphql().without_models(document, lambda names: self._readable(held.principal, names))
            return json.dumps(seen).encode()
        listed = document.get(_LISTS[route], [])
        readable = self._readable(held.principal, {one["name"] for one in listed})
        document[_LISTS[route]] = [one for one in listed if one["name"] in readable]
        return json.dumps(document).encode()

    def _record(self, done: _Ticket) -> None:
        if done.name is None:
            raise InternalError("A change of the model registry that names no model")
        with self.deps.sessions.begin() as session:
            served = legacy.find(session, done.name)
            concerned = {served[1].id} if served is not None else set()
            if done.operation == RENAME_MODEL[1] and done.new_name is not None:
                if done.new_name != done.name:
                    store.rename(session, done.name, done.new_name)
                    concerned |= self._end_serving(session, done.new_name)
                    legacy.rename(session, done.name, done.new_name)
            else:
                # A new model may have the name of one that left past this server, and none of its grants.
                store.forget(session, done.name)
                if done.operation == CREATE_MODEL[1]:
                    store.record_owner(session, done.name, done.principal.id)
                    self._end_serving(session, done.name)
                elif served is not None and done.operation == DELETE_MODEL[1]:
                    # At once: a model without its owner and its grants is everybody's to query.
                    served[0].stages, served[0].problem = {}, model_gone(done.name)
        for endpoint_id in sorted(concerned):
            self.deps.notifier.endpoint_changed(endpoint_id)

    def _end_serving(self, session: Session, name: str) -> set[str]:
        """Another model has that name now: nobody has enabled it, and who enabled the earlier one must not run it.

        Returns:
            The id of the endpoint that served the earlier one by stage, where there was one.
        """
        served = legacy.find(session, name)
        if served is None:
            return set()
        take_away(session, served[1], f"Another registered model is called '{name}' now", self.deps.clock())
        return {served[1].id}

    def _concerns_production(self, name: str, given: _Parameters) -> bool:
        """Whether a version goes to that stage or leaves it."""
        if (given.one("stage") or "").casefold() == _PRODUCTION:
            return True
        version = self.deps.registry.model_version(name, given.required("version"))
        return version.stage.casefold() == _PRODUCTION

    def _require(self, caller: Principal, name: str, needed: ModelLevel) -> None:
        with reading(self.deps.sessions) as session:
            rights = store.rights(session, name)
        require_model_level(caller, name, rights, needed)

    def _readable(self, caller: Principal, names: Iterable[str]) -> set[str]:
        with reading(self.deps.sessions) as session:
            rights = store.all_rights(session, set(names))
        return {name for name, one in rights.items() if model_level(caller, one) is not None}


def _ticket(request: RegistryRequest, name: str | None = None, new_name: str | None = None) -> str:
    ticket = _Ticket(
        principal=request.principal, method=request.method, operation=request.operation, name=name, new_name=new_name
    )
    return base64.b64encode(ticket.model_dump_json().encode()).decode()


def _graphql() -> ModuleType:
    """Imported when it is needed: its parser takes a while, and few installations need it."""
    return importlib.import_module("moorage.control.registry_graphql")


class _Parameters:
    """The parameters of a request, which MLflow takes from the query or from the body: here they must agree."""

    def __init__(self, query: str, body: bytes) -> None:
        self._query = parse_qs(query, keep_blank_values=True)
        self._document = _document(body)

    def one(self, *spellings: str) -> str | None:
        """The value of a field, under whichever of its names.

        Raises:
            BadRequest: it is no text.
            InvalidParameterValue: it is given with different values.
        """
        field = spellings[0]
        found: set[str] = set()
        for spelling in spellings:
            found.update(self._query.get(spelling, ()))
            value = self._document.get(spelling)
            if value is not None and not isinstance(value, str):
                raise BadRequest(f"Could not parse request object: Expected a string in field '{field}'")
            if value is not None:
                found.add(value)
        if len(found) > 1:
            raise InvalidParameterValue(f"Invalid value for '{field}': it is given more than once, and differently")
        return next(iter(found), None)

    def required(self, field: str) -> str:
        """
        Raises:
            BadRequest, InvalidParameterValue: as `one`, or it is not given.
        """
        value = self.one(field)
        if not value:
            raise InvalidParameterValue(f"Missing required field '{field}'")
        return value


def _document(body: bytes) -> dict[str, Any]:
    """The body as MLflow reads it: JSON, or JSON in a JSON string as old clients send it."""
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
        if isinstance(document, str):
            document = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise BadRequest("Could not parse request object: not valid JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("Could not parse request object: Expected an object")
    return document


def _source_model(source: str | None) -> str | None:
    """The registered model of a `models:/NAME/VERSION` or `models:/NAME@ALIAS`; None for any other source."""
    if source is None:
        return None
    parts = urlsplit(source)
    path = parts.path.lstrip("/")
    if parts.scheme != "models" or not ("/" in path or "@" in path):
        return None
    return path.partition("/")[0].rpartition("@")[0] or path.partition("/")[0]
