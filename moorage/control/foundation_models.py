"""Endpoints of the models in the catalogue: there by themselves, for everybody, and started by the first query."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from moorage.api.configs import Route, TrafficConfig
from moorage.api.endpoints import ConfigUpdate, PermissionLevel
from moorage.api.engines import CatalogueEntry, Engine, EngineModel, FoundationModelOutput
from moorage.api.served_entities import EngineModelSpec, EntityKind, stored_spec
from moorage.api.wire import name_from
from moorage.control.endpoint_rows import change_event, rows_of
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.store import endpoints, groups, permissions
from moorage.control.store.engine import Sessions
from moorage.control.store.models import Config, Deployment, Endpoint
from moorage.control.store.permissions import ObjectType
from moorage.engines import catalogue, weights
from moorage.identity.ids import new_object_id

_logger = logging.getLogger(__name__)

SYSTEM_USER = "System-User"
_SYSTEM_ID = "system"
_LOOK_SECONDS = 2.0
_MODULES = {Engine.LLAMA_CPP: "xllamacpp", Engine.ONNX: "onnxruntime"}


class FoundationModels:
    """Makes the endpoints what the catalogue says. `changed` is told the ids of those that are others than before."""

    def __init__(
        self, sessions: Sessions, added: Path, changed: Callable[[str], None], clock: Callable[[], int]
    ) -> None:
        """`added` is the file of the models beside the default ones, which need not be there."""
        self._sessions = sessions
        self._added = added
        self._changed = changed
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        self._looked = False

    def take_in(self) -> None:
        """Read the catalogue, and make, change and take away endpoints.

        Raises:
            CatalogueError: the file cannot be read; everything stays as it is.
        """
        entries = []
        for entry in catalogue.read(self._added):
            missing = why_not_available(entry)
            if missing:
                _logger.info("model %s of the catalogue is left out: %s", entry.name, missing)
            else:
                entries.append(entry)
        with self._sessions.begin() as session:
            touched = _write(session, entries, self._clock())
        for endpoint_id in touched:
            self._changed(endpoint_id)

    async def follow_for_ever(self) -> None:
        """Take the catalogue in again whenever its file has changed."""
        while True:
            stamp = await asyncio.to_thread(self._stamp)
            if not self._looked or stamp != self._seen:
                self._looked, self._seen = True, stamp
                try:
                    await asyncio.to_thread(self.take_in)
                except catalogue.CatalogueError as error:
                    _logger.error("the catalogue of models cannot be read: %s", error)
                except Exception:
                    _logger.exception("the endpoints of the catalogue's models cannot be made; it is tried again")
                    self._looked = False
            await asyncio.sleep(_LOOK_SECONDS)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._added.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size


def why_not_available(model: EngineModel) -> str:
    """What this machine lacks for a model, as far as it can be said without fetching anything; nothing where it has
    all."""
    module = _MODULES.get(model.engine)
    if module is not None and importlib.util.find_spec(module) is None:
        return f"the engine {model.engine} is not installed (install 'moorage[llm]')"
    for source in filter(None, (model.weights, model.tokenizer)):
        missing = weights.why_missing(source)
        if missing:
            return missing
    return ""


def spec_of(entry: CatalogueEntry) -> EngineModelSpec:
    """The served entity of a model of the catalogue."""
    return EngineModelSpec(
        name=name_from(entry.entity_name.rpartition(".")[2]),
        entity_name=entry.entity_name,
        model=EngineModel.model_validate(entry.model_dump(include=set(EngineModel.model_fields))),
        foundation_model=FoundationModelOutput(
            name=entry.entity_name,
            display_name=entry.display_name,
            description=entry.description,
            docs=entry.docs or "",
        ),
        scale_to_zero_enabled=True,
    )


def _write(session: Session, entries: Sequence[CatalogueEntry], now: int) -> list[str]:
    """Make the rows what the entries say; the ids of the endpoints that were touched."""
    present = {
        one.name: one
        for one in session.scalars(
            select(Endpoint).where(Endpoint.kind == EntityKind.FOUNDATION_MODEL, Endpoint.deleting.is_(False))
        )
    }
    touched = []
    for entry in entries:
        endpoint, spec = present.pop(entry.name, None), spec_of(entry)
        if endpoint is None:
            if endpoints.find(session, entry.name) is not None:
                _logger.error("model %s of the catalogue has no endpoint: its name is taken", entry.name)
                continue
            endpoint = _make(session, entry, now)
        elif _serves(session, endpoint, spec):
            continue
        _serve(session, endpoint, spec, now)
        touched.append(endpoint.id)
    for endpoint in present.values():
        endpoints.mark_deleting(session, endpoint, now)
        permissions.forget_object(session, ObjectType.SERVING_ENDPOINT, endpoint.id)
        touched.append(endpoint.id)
    return touched


def _make(session: Session, entry: CatalogueEntry, now: int) -> Endpoint:
    endpoint = Endpoint(
        id=new_object_id(),
        name=entry.name,
        creator=SYSTEM_USER,
        creator_id=_SYSTEM_ID,
        creation_timestamp=now,
        last_updated_timestamp=now,
        description=entry.description,
        tags=[],
        config_update=ConfigUpdate.NOT_UPDATING,
        last_version=0,
        deleting=False,
        kind=EntityKind.FOUNDATION_MODEL,
    )
    endpoints.insert(session, endpoint, None, [])
    everybody = groups.memberships(session).users_id
    permissions.grant(session, ObjectType.SERVING_ENDPOINT, endpoint.id, everybody, PermissionLevel.CAN_QUERY)
    words = f"Model {entry.entity_name} of the catalogue can be queried"
    endpoints.add_event(session, change_event(endpoint, "ENDPOINT_EVENT", Trigger.CONFIG_ACCEPTED, words, now))
    return endpoint


def _serves(session: Session, endpoint: Endpoint, spec: EngineModelSpec) -> bool:
    rows = rows_of(session, endpoint)
    served = rows.served(rows.active) if rows.active else []
    return [stored_spec(one.spec) for one in served] == [spec]


def _serve(session: Session, endpoint: Endpoint, spec: EngineModelSpec, now: int) -> None:
    """Make it the configuration that serves. It counts as ready: nothing runs before it is asked for."""
    deployment = Deployment(
        id=new_object_id(),
        endpoint_id=endpoint.id,
        served_name=spec.name,
        spec=spec.model_dump(mode="json", exclude_none=True),
        creator=SYSTEM_USER,
        creation_timestamp=now,
        phase=DeploymentPhase.READY,
        message="",
        trigger=Trigger.CONFIG_ACCEPTED,
        failures=0,
        max_concurrency=0,
    )
    endpoint.last_version += 1
    version = endpoint.last_version
    body = {
        "served_entities": [{"name": spec.name, "deployment_id": deployment.id}],
        "traffic_config": TrafficConfig(routes=(Route.to(spec.name, 100),)).model_dump(mode="json"),
    }
    session.add(deployment)
    session.add(
        Config(endpoint_id=endpoint.id, version=version, body=body, start_time=now, created_by=SYSTEM_USER)
    )
    endpoint.active_version, endpoint.last_updated_timestamp = version, now
    session.flush()
