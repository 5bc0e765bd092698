"""Finding an endpoint's rows for a caller, and the event that a change of it leaves."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from moorage.api.endpoints import PermissionLevel
from moorage.api.errors import InvalidParameterValue, ResourceDoesNotExist
from moorage.api.routing import Principal
from moorage.api.served_entities import EntityKind
from moorage.control.endpoint_views import EndpointRows
from moorage.control.lifecycle import Trigger
from moorage.control.store import endpoints as store
from moorage.control.store import legacy, permissions
from moorage.control.store.endpoint_grants import grants
from moorage.control.store.models import Config, Endpoint, Event
from moorage.control.store.permissions import ObjectType
from moorage.identity.access import require_level


def find_visible(session: Session, caller: Principal, name: str) -> tuple[Endpoint, PermissionLevel]:
    """An endpoint to read, and the caller's own level on it.

    Raises:
        ResourceDoesNotExist: no such endpoint.
        PermissionDenied: the caller may not see it.
    """
    endpoint = store.find(session, name)
    if endpoint is None:
        raise _unknown(name)
    return endpoint, require_level(caller, name, grants(session, endpoint), PermissionLevel.CAN_VIEW)


def find_managed(session: Session, caller: Principal, name: str) -> Endpoint:
    """An endpoint to change; in a transaction that writes, no other changes it meanwhile.

    Raises:
        ResourceDoesNotExist: no such endpoint.
        PermissionDenied: the caller may not manage it.
    """
    endpoint = store.find_for_change(session, name)
    if endpoint is None:
        raise _unknown(name)
    require_level(caller, name, grants(session, endpoint), PermissionLevel.CAN_MANAGE)
    return endpoint


def require_not_of_catalogue(endpoint: Endpoint, verb: str) -> None:
    """
    Raises:
        InvalidParameterValue: a model of the catalogue has the endpoint.
    """
    if endpoint.kind == EntityKind.FOUNDATION_MODEL:
        raise InvalidParameterValue(
            f"Endpoint '{endpoint.name}' of a model in the catalogue cannot be {verb}: change the catalogue instead"
        )


def rows_of(session: Session, endpoint: Endpoint) -> EndpointRows:
    """The endpoint with its active and its pending configuration."""

    def config(version: int | None) -> Config | None:
        return None if version is None else store.config(session, endpoint.id, version)

    active, pending = config(endpoint.active_version), config(endpoint.pending_version)
    return with_deployments(session, endpoint, active, pending)


def with_deployments(
    session: Session, endpoint: Endpoint, active: Config | None, pending: Config | None, *others: Config
) -> EndpointRows:
    """The endpoint with the deployments of these configurations, and no others that it once had."""
    wanted = deployment_ids(config for config in (active, pending, *others) if config is not None)
    deployments = store.deployments_by_id(session, wanted)
    return EndpointRows(endpoint, active, pending, deployments, legacy.of_endpoint(session, endpoint.id))


def deployment_ids(configs: Iterable[Config]) -> set[str]:
    """The deployments that these configurations are made of."""
    return {str(entity["deployment_id"]) for config in configs for entity in config.body["served_entities"]}


def take_away(session: Session, endpoint: Endpoint, words: str, now: int) -> None:
    """Delete the endpoint with the grants on it; `words` say why. To be told to the reconciler once committed."""
    store.mark_deleting(session, endpoint, now)
    permissions.forget_object(session, ObjectType.SERVING_ENDPOINT, endpoint.id)
    store.add_event(session, change_event(endpoint, "ENDPOINT_EVENT", Trigger.ENDPOINT_DELETED, words, now))


def change_event(endpoint: Endpoint, event_type: str, trigger: str, message: str, timestamp: int) -> Event:
    """The record of a change that a user has made."""
    return Event(
        endpoint_id=endpoint.id,
        endpoint_name=endpoint.name,
        event_type=event_type,
        status="SUCCESS",
        trigger=trigger,
        message=message,
        timestamp=timestamp,
    )


def _unknown(name: str) -> ResourceDoesNotExist:
    return ResourceDoesNotExist(f"Endpoint with name '{name}' not found.")
