"""Rate limits as the gateways enforce them, made from both forms that requests give them in.

The request forms are in `moorage.api.ai_gateway`. Names of principals have become ids here, and entries that count
the same thing one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import BaseModel, ConfigDict, Field

from moorage.api.ai_gateway import GatewayRateLimit, LimitKey, RateLimit, RenewalPeriod

RENEWAL_SECONDS = {RenewalPeriod.MINUTE: 60}

PrincipalId = Callable[[LimitKey, str], str | None]


class CompiledLimit(BaseModel):
    """What may be used in each window of `seconds`: so many calls, so many tokens, or both.

    `principal_id` is None for key `endpoint` (all traffic together) and for the default of every principal (key
    `user`). `display` is the principal's name as the limit gave it, for messages.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    key: LimitKey
    principal_id: str | None = None
    display: str = ""
    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    seconds: int = Field(ge=1)


def compile_limits(
    legacy: Iterable[RateLimit], gateway: Iterable[GatewayRateLimit], principal_id: PrincipalId
) -> tuple[CompiledLimit, ...]:
    """The limits of an endpoint, of both forms together: where two say the same thing, the lower one.

    `principal_id` gives the id of a user, group or service principal by name. A limit on one that does not exist is
    left out, since nobody is refused by it.
    """
    compiled: dict[tuple[LimitKey, str | None, int], CompiledLimit] = {}
    given: list[RateLimit | GatewayRateLimit] = [*legacy, *gateway]
    for one in given:
        key, name, tokens = LimitKey(one.key.value), "", None
        if isinstance(one, GatewayRateLimit):
            name, tokens = one.principal or "", one.tokens
        principal = principal_id(key, name) if name else None
        if name and principal is None:
            continue
        seconds = RENEWAL_SECONDS[one.renewal_period]
        earlier = compiled.get((key, principal, seconds))
        compiled[key, principal, seconds] = CompiledLimit(
            key=key,
            principal_id=principal,
            display=name,
            calls=_lower(one.calls, earlier.calls if earlier else None),
            tokens=_lower(tokens, earlier.tokens if earlier else None),
            seconds=seconds,
        )
    return tuple(compiled.values())


def _lower(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
