"""Whether this server can check what an endpoint's guardrails ask for."""

from __future__ import annotations

from moorage.api.ai_gateway import AiGateway
from moorage.api.errors import InvalidParameterValue
from moorage.settings import Settings


def require_guardrails(settings: Settings, gateway: AiGateway | None) -> None:
    """
    Raises:
        InvalidParameterValue: they need detectors that are not installed.
    """
    if gateway is None or gateway.guardrails is None:
        return
    # Late: few endpoints have any.
    from moorage.guardrails.installed import missing_for

    missing = missing_for(gateway.guardrails, settings.guardrails_model_dir)
    if missing is not None:
        raise InvalidParameterValue(f"Invalid value for 'ai_gateway.guardrails': {missing}")
