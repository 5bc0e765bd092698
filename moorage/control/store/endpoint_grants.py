"""Who has which level on a serving endpoint, whatever it comes from.

The creator manages an endpoint, and others have what they are granted. One that serves a registered model by stage
goes by the rights on that model alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from moorage.api.endpoints import PermissionLevel
from moorage.api.permissions import ModelLevel
from moorage.control.store import groups, legacy, permissions, registered_models
from moorage.control.store.models import Endpoint
from moorage.control.store.permissions import Grants, ObjectType
from moorage.identity.model_access import ModelRights


def grants(session: Session, endpoint: Endpoint) -> Grants:
    """The level on one endpoint by principal id."""
    served = legacy.of_endpoint(session, endpoint.id)
    if served is not None:
        return of_model(session, registered_models.rights(session, served.registered_model_name))
    return _of_creator(endpoint, permissions.grants(session, ObjectType.SERVING_ENDPOINT, endpoint.id))


def all_grants(session: Session, endpoints: Sequence[Endpoint]) -> dict[str, Grants]:
    """The levels on each of these endpoints, by its id, in as many queries for one as for a thousand."""
    direct = permissions.all_grants(session, ObjectType.SERVING_ENDPOINT)
    models = {one: row.registered_model_name for one, row in legacy.by_endpoint(session).items()}
    rights = registered_models.all_rights(session, models.values()) if models else {}
    return {
        one.id: of_model(session, rights[models[one.id]])
        if one.id in models
        else _of_creator(one, direct.get(one.id, {}))
        for one in endpoints
    }


def of_model(session: Session, rights: ModelRights) -> Grants:
    """What rights on a registered model are on the endpoint that serves it by stage."""
    found: dict[str, str] = {}
    if rights.owner_id is None:
        found[groups.memberships(session).users_id] = PermissionLevel.CAN_QUERY
    for principal_id, level in rights.grants.items():
        manages = ModelLevel(level) is ModelLevel.CAN_MANAGE
        found[principal_id] = PermissionLevel.CAN_MANAGE if manages else PermissionLevel.CAN_QUERY
    if rights.owner_id is not None:
        found[rights.owner_id] = PermissionLevel.CAN_MANAGE
    return found


def _of_creator(endpoint: Endpoint, direct: Grants) -> Grants:
    return {**direct, endpoint.creator_id: PermissionLevel.CAN_MANAGE}
