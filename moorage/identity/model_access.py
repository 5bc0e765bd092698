"""Who may do what with a registered model. Source: Databricks documentation, MLflow model ACLs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moorage.api.errors import PermissionDenied
from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal


@dataclass(frozen=True, slots=True)
class ModelRights:
    """Who made the model, None where nobody saw that, and the levels granted on it by principal id."""

    owner_id: str | None = None
    grants: Mapping[str, str] = field(default_factory=dict)


def model_level(principal: Principal, rights: ModelRights) -> ModelLevel | None:
    """The caller's own level on the model.

    Its owner and admins manage it; others have the highest of the levels that grants give them and their groups.
    A model without an owner is one that was there before, or came past this server: everybody may read it.
    """
    if principal.admin or principal.id == rights.owner_id:
        return ModelLevel.CAN_MANAGE
    held = [ModelLevel(rights.grants[one]) for one in (principal.id, *principal.groups) if one in rights.grants]
    if rights.owner_id is None or principal.reads_every_model:
        held.append(ModelLevel.CAN_READ)
    return max(held, key=list(ModelLevel).index, default=None)


def require_model_level(principal: Principal, name: str, rights: ModelRights, needed: ModelLevel) -> ModelLevel:
    """The caller's level, when it is at least `needed`.

    Raises:
        PermissionDenied: it is not.
    """
    level = model_level(principal, rights)
    if level is None or not level.allows(needed):
        raise PermissionDenied(
            f"User '{principal.user_name}' does not have {needed} permission on registered model '{name}'."
        )
    return level
