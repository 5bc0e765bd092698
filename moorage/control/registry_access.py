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
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from moorage.api.artifact_uris import (
    MLFLOW_SCHEME,
    VERSIONS_FOLDER,
    artifact_path,
    is_of_registered_versions,
    plain_path,
)
from moorage.api.errors import (
    BadRequest,
    EndpointNotFound,
    InternalError,
    InvalidParameterValue,
    PermissionDenied,
)
from moorage.api.grants import Privilege
from moorage.api.permissions import ModelLevel
from moorage.api.registry_access import (
    CREATE_MODEL,
    DELETE_MODEL,
    LOGGED_MODELS,
    RECORDED,
    REGISTERED_FILES,
    RENAME_MODEL,
    TRANSITION,
    RegistryDecision,
    RegistryRequest,
)
from moorage.api.routing import Principal
from moorage.api.unity_catalog import HIDDEN_TAGS
from moorage.control.dependencies import ControlDependencies
from moorage.control.endpoint_rows import take_away
from moorage.control.legacy.stages import model_gone
from moorage.control.store import legacy, privileges
from moorage.control.store import registered_models as store
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.privileges import Securable
from moorage.identity.model_access import model_level, require_model_level
from moorage.registry.mlflow_api import MlflowRefusal

_GRAPHQL = "graphql"
_CREATE_VERSION = ("POST", "model-versions/create")
_PRODUCTION = "production"
_BACKING = 2  # registered-models/models/ID: which part is the id

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
_TAGS = {
    (method, f"{what}/{verb}")
    for what in ("registered-models", "model-versions")
    for method, verb in (("POST", "set-tag"), ("DELETE", "delete-tag"))
}
_WITH_TAGS = {CREATE_MODEL, _CREATE_VERSION}
_CREATORS = {Privilege.CREATE_MODEL, Privilege.MANAGE, Privilege.ALL_PRIVILEGES}
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
    owner_id: str | None = None


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
        if request.operation == REGISTERED_FILES:
            self.require_files(caller, request.query)
            return RegistryDecision()
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
        if route == CREATE_MODEL:
            self.require_creation(caller, name)
        else:
            self.require(caller, name, _NEEDED[route])
        if route == TRANSITION and self._concerns_production(name, given):
            self.require(caller, name, ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS)
        if route == _CREATE_VERSION:
            self.require_source(caller, given.one("source"))
        if route in _TAGS and (given.one("key") or "").startswith(HIDDEN_TAGS):
            raise InvalidParameterValue(f"Invalid value for 'key': tags '{HIDDEN_TAGS}...' are the server's own")
        body = given.without_hidden_tags() if route in _WITH_TAGS else None
        if route not in RECORDED:
            return RegistryDecision(body=body)
        new_name = given.one("new_name", "newName")
        if route == RENAME_MODEL and new_name is not None and new_name != name:
            self.require_creation(caller, new_name)
        return RegistryDecision(ticket=_ticket(request, name, new_name, self.owner(name)), body=body)

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
            seen = _graphql().without_models(document, lambda names: self.readable(held.principal, names))
            return json.dumps(seen).encode()
        listed = document.get(_LISTS[route], [])
        readable = self.readable(held.principal, {one["name"] for one in listed})
        document[_LISTS[route]] = [one for one in listed if one["name"] in readable]
        return json.dumps(document).encode()

    def require(self, caller: Principal, name: str, needed: ModelLevel) -> None:
        """
        Raises:
            PermissionDenied: the caller has a lower level on the model.
        """
        with reading(self.deps.sessions) as session:
            rights = store.rights(session, name)
        require_model_level(caller, name, rights, needed)

    def require_creation(self, caller: Principal, name: str) -> None:
        """Whether the caller may register a model of that new name, or give a model that name.

        Everybody may, but where CREATE_MODEL is granted to somebody on the schema or the catalog of the name.

        Raises:
            PermissionDenied: it is, and the caller neither has it nor manages the schema or the catalog.
        """
        above = Securable.model(name).above
        if caller.admin or not above:
            return
        with reading(self.deps.sessions) as session:
            granted = privileges.held(session, above)
        everything = {one for some in granted.values() for each in some.values() for one in each}
        if Privilege.CREATE_MODEL in everything and not _CREATORS & privileges.held_by(caller, granted):
            raise PermissionDenied(
                f"User '{caller.user_name}' does not have {Privilege.CREATE_MODEL} on schema '{above[0].full_name}'."
            )

    def require_source(self, caller: Principal, source: str | None) -> None:
        """
        Raises:
            PermissionDenied: `source` is another registered model's version, and the caller may not read that model;
                or the files of one, without its name.
        """
        if source is None:
            return
        if (model := _source_model(source)) is not None:
            self.require(caller, model, ModelLevel.CAN_READ)
        parts = urlsplit(source)
        if parts.scheme == "models" and model is None:
            path = self._folder_of_logged_model(parts.path.lstrip("/"))
        else:
            path = artifact_path(source)
        if path is not None and is_of_registered_versions(path):
            raise PermissionDenied(
                f"Files below '{VERSIONS_FOLDER}/' are of registered versions: give 'models:/NAME/VERSION' as source."
            )

    def require_files(self, caller: Principal, files: str) -> None:
        """
        Args:
            files: a path in the artifact store, or `logged-models/ID`, as `REGISTERED_FILES` says.

        Raises:
            PermissionDenied: they are a registered version's, and the caller may not read the model; or of many.
        """
        if caller.admin:
            return
        path: str | None = files
        if files.startswith(LOGGED_MODELS):
            path = self._folder_of_logged_model(files.removeprefix(LOGGED_MODELS))
        if path is None or not is_of_registered_versions(path):
            return
        parts = plain_path(path).split("/")
        names: set[str] = set()
        if len(parts) > _BACKING and parts[_BACKING - 1] == "models" and "'" not in parts[_BACKING]:
            source = f"{MLFLOW_SCHEME}{'/'.join(parts[: _BACKING + 1])}/artifacts"
            query = {"filter": f"source_path = '{source}'"}
            answer = self.deps.mlflow.call("GET", "model-versions/search", query=query)
            names = {one["name"] for one in answer.get("model_versions", [])}
        if not self.readable(caller, names):
            raise PermissionDenied(
                f"User '{caller.user_name}' may not read these files: they are those of registered versions."
            )

    def _folder_of_logged_model(self, model_id: str) -> str | None:
        """The path in the artifact store; None where there is no such model, or it has its files elsewhere."""
        try:
            found = self.deps.mlflow.call("GET", f"logged-models/{quote(model_id, safe='')}")["model"]
        except MlflowRefusal as refusal:
            if refusal.status >= 500:
                raise
            return None
        return artifact_path(found["info"].get("artifact_uri", ""))

    def readable(self, caller: Principal, names: Iterable[str]) -> set[str]:
        """Those of the models that the caller may read."""
        with reading(self.deps.sessions) as session:
            rights = store.all_rights(session, set(names))
        return {name for name, one in rights.items() if model_level(caller, one) is not None}

    def owner(self, name: str) -> str | None:
        """The id of the model's owner, to be remembered before the registry is asked to rename or delete it."""
        with reading(self.deps.sessions) as session:
            return store.rights(session, name).owner_id

    def created(self, caller: Principal, name: str) -> None:
        """Note that the registry has a new model, the caller's. One of that name may have left past this server."""
        with self.deps.sessions.begin() as session:
            store.forget(session, name)
            store.record_owner(session, name, caller.id)
            ended = self._end_serving(session, name)
        self._tell(ended)

    def owned(self, name: str, owner_id: str) -> None:
        """The model is that principal's from now on."""
        with self.deps.sessions.begin() as session:
            store.record_owner(session, name, owner_id)
            served = legacy.find(session, name)
            concerned = {served[1].id} if served is not None else set()
        self._tell(concerned)

    def renamed(self, name: str, new_name: str, owner_id: str | None) -> None:
        """Note that the model has another name: its grants and its serving by stage go with it.

        `owner_id` is whose it was before. When the name is somebody else's by now, there is a new model of that name,
        made in between: it keeps what is noted of it.
        """
        if name == new_name:
            return
        with self.deps.sessions.begin() as session:
            if store.rights(session, name).owner_id != owner_id:
                store.forget(session, new_name)
                if owner_id is not None:
                    store.record_owner(session, new_name, owner_id)
                concerned = self._end_serving(session, new_name)
            else:
                served = legacy.find(session, name)
                concerned = {served[1].id} if served is not None else set()
                store.rename(session, name, new_name)
                concerned |= self._end_serving(session, new_name)
                legacy.rename(session, name, new_name)
        self._tell(concerned)

    def deleted(self, name: str, owner_id: str | None) -> None:
        """Note that the registry has the model no more; `owner_id` is whose it was, as in `renamed`.

        At once it has no version for a stage: a model without its owner and its grants is everybody's to query.
        """
        with self.deps.sessions.begin() as session:
            if store.rights(session, name).owner_id != owner_id:
                return
            served = legacy.find(session, name)
            store.forget(session, name)
            if served is not None:
                served[0].stages, served[0].problem = {}, model_gone(name)
            concerned = {served[1].id} if served is not None else set()
        self._tell(concerned)

    def _record(self, done: _Ticket) -> None:
        if done.name is None:
            raise InternalError("A change of the model registry that names no model")
        if done.operation == CREATE_MODEL[1]:
            self.created(done.principal, done.name)
        elif done.operation == RENAME_MODEL[1]:
            self.renamed(done.name, done.new_name or done.name, done.owner_id)
        else:
            self.deleted(done.name, done.owner_id)

    def _tell(self, endpoints: set[str]) -> None:
        for endpoint_id in sorted(endpoints):
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


def _ticket(
    request: RegistryRequest, name: str | None = None, new_name: str | None = None, owner_id: str | None = None
) -> str:
    ticket = _Ticket(
        principal=request.principal,
        method=request.method,
        operation=request.operation,
        name=name,
        new_name=new_name,
        owner_id=owner_id,
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


    def without_hidden_tags(self) -> bytes | None:
        """The body without the server's own tags, which clients copy with the version that has them; None if none."""
        tags = self._document.get("tags")
        if not isinstance(tags, list):
            return None
        kept = [one for one in tags if not (isinstance(one, dict) and str(one.get("key")).startswith(HIDDEN_TAGS))]
        return None if len(kept) == len(tags) else json.dumps({**self._document, "tags": kept}).encode()


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
