"""The rate limits of an endpoint, from its rows to what gateways enforce."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moorage.api.ai_gateway import AiGateway, GatewayRateLimit, LimitKey, RateLimit
from moorage.api.errors import InvalidParameterValue
from moorage.api.rate_limits import CompiledLimit, compile_limits
from moorage.api.routing import PrincipalKind
from moorage.control.store import groups
from moorage.control.store.models import Endpoint, User
from moorage.settings import LIMITS_DO_NOT_HOLD, Settings, limits_hold


class LimitsDoNotHold(Exception):
    """Limits are stored that the gateways of these settings cannot enforce; the message says what to do."""


def gateway_limits(endpoint: Endpoint) -> Sequence[GatewayRateLimit]:
    """The limits of the AI Gateway block."""
    return AiGateway.model_validate(endpoint.ai_gateway).rate_limits or () if endpoint.ai_gateway else ()


def compiled_limits(session: Session, endpoint: Endpoint) -> tuple[CompiledLimit, ...]:
    """The limits of both forms, with the ids of the principals that they name."""
    legacy = [RateLimit.model_validate(one) for one in endpoint.rate_limits or ()]
    gateway = gateway_limits(endpoint)
    if not legacy and not gateway:
        return ()
    return compile_limits(legacy, gateway, _principal_id(session))


def require_enforceable(settings: Settings, limits: Sequence[object]) -> None:
    """
    Raises:
        InvalidParameterValue: there are limits, and gateway workers that would each count by themselves.
    """
    if limits and not limits_hold(settings):
        raise InvalidParameterValue(LIMITS_DO_NOT_HOLD)


def require_stored_enforceable(session: Session, settings: Settings) -> None:
    """
    Raises:
        LimitsDoNotHold: an endpoint has limits that these settings cannot hold.
    """
    if limits_hold(settings):
        return
    for endpoint in session.scalars(select(Endpoint).where(Endpoint.deleting.is_(False)).order_by(Endpoint.name)):
        if endpoint.rate_limits or gateway_limits(endpoint):
            raise LimitsDoNotHold(f"Endpoint '{endpoint.name}' has rate limits. {LIMITS_DO_NOT_HOLD}")


def _principal_id(session: Session) -> Callable[[LimitKey, str], str | None]:
    def find(key: LimitKey, name: str) -> str | None:
        if key is LimitKey.USER_GROUP:
            group = groups.find(session, name)
            return group.id if group is not None else None
        kind = PrincipalKind.SERVICE_PRINCIPAL if key is LimitKey.SERVICE_PRINCIPAL else PrincipalKind.USER
        return session.scalar(
            select(User.id).where(User.kind == kind, func.lower(User.user_name) == name.lower())
        )

    return find
