"""Users as SCIM shows them."""

from __future__ import annotations

from moorage.api.errors import InvalidToken
from moorage.api.routing import Principal
from moorage.api.scim import ComplexValue, PersonName, ScimUser
from moorage.control.store import identity as store
from moorage.control.store.engine import Sessions, reading


def current_user(sessions: Sessions, caller: Principal) -> ScimUser:
    """The caller's own user.

    Raises:
        InvalidToken: there is no such user any more.
    """
    with reading(sessions) as session:
        user = store.user(session, caller.id)
    if user is None:
        raise InvalidToken
    groups = ("admins", "users") if user.admin else ("users",)
    entitlements = ("workspace-access", "allow-cluster-create") if user.admin else ("workspace-access",)
    return ScimUser(
        id=user.id,
        userName=user.user_name,
        displayName=user.display_name or user.user_name,
        active=user.active,
        name=PersonName(givenName=user.display_name or user.user_name),
        emails=(ComplexValue(value=user.user_name, type="work", primary=True),),
        groups=tuple(ComplexValue(display=group, type="direct") for group in groups),
        entitlements=tuple(ComplexValue(value=entitlement) for entitlement in entitlements),
    )
