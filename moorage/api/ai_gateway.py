"""The AI Gateway block of an endpoint, and rate limits in both their forms.

Source: Databricks REST reference, serving endpoints, create (`ai_gateway`, `rate_limits`).
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from moorage.api.table_names import TablePart
from moorage.api.wire import Count, ShortText, Text, WireInput, missing_field

_MOST_LIMITS = 20
_MOST_GROUP_LIMITS = 5


class RenewalPeriod(StrEnum):
    MINUTE = "minute"


class LegacyLimitKey(StrEnum):
    USER = "user"
    ENDPOINT = "endpoint"


class LimitKey(StrEnum):
    USER = "user"
    USER_GROUP = "user_group"
    SERVICE_PRINCIPAL = "service_principal"
    ENDPOINT = "endpoint"


class PiiBehavior(StrEnum):
    NONE = "NONE"
    BLOCK = "BLOCK"
    MASK = "MASK"


class RateLimit(WireInput):
    """The older form: calls per minute of each user, or of the endpoint."""

    calls: Count
    renewal_period: RenewalPeriod
    key: LegacyLimitKey = LegacyLimitKey.ENDPOINT


class GatewayRateLimit(WireInput):
    """Calls or tokens per minute, of the endpoint, of every user, or of one principal."""

    calls: Count | None = None
    tokens: Count | None = None
    renewal_period: RenewalPeriod
    key: LimitKey = LimitKey.ENDPOINT
    principal: ShortText | None = None

    @model_validator(mode="after")
    def _consistent(self) -> GatewayRateLimit:
        if (self.calls is None) == (self.tokens is None):
            raise ValueError("give exactly one of 'calls' and 'tokens'")
        if self.key is LimitKey.ENDPOINT and self.principal is not None:
            raise ValueError("'principal' does not go with key 'endpoint'")
        if self.key in (LimitKey.USER_GROUP, LimitKey.SERVICE_PRINCIPAL) and self.principal is None:
            raise missing_field("principal")
        return self


class FallbackConfig(WireInput):
    enabled: bool


class PiiGuardrail(WireInput):
    behavior: PiiBehavior = PiiBehavior.NONE


class GuardrailParameters(WireInput):
    """The checks on one side, input or output."""

    safety: bool | None = None
    pii: PiiGuardrail | None = None
    invalid_keywords: tuple[Text, ...] | None = None
    valid_topics: tuple[Text, ...] | None = None


class Guardrails(WireInput):
    input: GuardrailParameters | None = None
    output: GuardrailParameters | None = None


class GatewayInferenceTable(WireInput):
    """Where requests and answers are logged; the place is needed once it is enabled."""

    enabled: bool = False
    catalog_name: TablePart | None = None
    schema_name: TablePart | None = None
    table_name_prefix: TablePart | None = None

    @model_validator(mode="after")
    def _place_when_enabled(self) -> GatewayInferenceTable:
        for field in ("catalog_name", "schema_name"):
            if self.enabled and getattr(self, field) is None:
                raise missing_field(field)
        return self


class UsageTracking(WireInput):
    enabled: bool = False


class AiGateway(WireInput):
    """What stands between clients and the served entities. Echoed as given."""

    fallback_config: FallbackConfig | None = None
    guardrails: Guardrails | None = None
    inference_table_config: GatewayInferenceTable | None = None
    rate_limits: tuple[GatewayRateLimit, ...] | None = Field(default=None, max_length=_MOST_LIMITS)
    usage_tracking_config: UsageTracking | None = None

    @model_validator(mode="after")
    def _few_group_limits(self) -> AiGateway:
        groups = sum(limit.key is LimitKey.USER_GROUP for limit in self.rate_limits or ())
        if groups > _MOST_GROUP_LIMITS:
            raise ValueError(f"'rate_limits' may hold at most {_MOST_GROUP_LIMITS} entries for user groups")
        return self

    def only_for_language_models(self) -> str | None:
        """The feature in use that endpoints of custom models do not have, or None."""
        if self.guardrails is not None and (self.guardrails.input or self.guardrails.output):
            return "guardrails"
        if self.fallback_config is not None and self.fallback_config.enabled:
            return "fallback_config"
        return None
