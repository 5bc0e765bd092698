"""What an endpoint's rate limits ask of a request.

For calls and for tokens, each by itself, these apply:

* the endpoint's limit, a ceiling for all traffic together;
* the caller's own limit; without one the limits of the groups that the caller is in, of which one must have room, and
  which all members share; without those the default, of which every caller has the whole. The default is for service
  principals too: otherwise a service principal would be the way around it.

Source: Databricks documentation, AI Gateway rate limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from moorage.api.ai_gateway import LimitKey
from moorage.api.rate_limits import CompiledLimit


class Caller(Protocol):
    """What limits need to know of a principal. `groups` holds ids, also of groups that it is in through others."""

    @property
    def id(self) -> str: ...

    @property
    def user_name(self) -> str: ...

    @property
    def groups(self) -> frozenset[str]: ...


class Unit(StrEnum):
    CALLS = "calls"
    TOKENS = "tokens"


class Allowance:
    """`amount` units in each window of `seconds`, counted under the name `counter`.

    `key` and `principal` say whose it is in the words of the limit; `principal` is empty for the whole endpoint.
    """

    __slots__ = ("amount", "counter", "key", "principal", "seconds", "unit")

    def __init__(self, counter: str, unit: Unit, amount: int, seconds: int, key: LimitKey, principal: str) -> None:
        self.counter = counter
        self.unit = unit
        self.amount = amount
        self.seconds = seconds
        self.key = key
        self.principal = principal


Choice = tuple[Allowance, ...]
"""Allowances of one unit, of which one must have room. The one with most left is used, of equals the first."""

Choices = list[Choice]
"""What a request must pass: every one of them."""


class LimitRules:
    """The limits of one endpoint, sorted by whom they apply to. Made once for a route, and asked for each request."""

    __slots__ = ("_units",)

    def __init__(self, endpoint_id: str, limits: Sequence[CompiledLimit]) -> None:
        self._units = [_UnitRules(endpoint_id, unit, limits) for unit in Unit if _of_unit(unit, limits)]

    def choices(self, caller: Caller) -> Choices:
        """What a request of this caller must pass; nothing when no limit is for it."""
        choices: Choices = []
        for rules in self._units:
            rules.add_to(choices, caller)
        return choices


class _UnitRules:
    """The limits in one unit."""

    __slots__ = ("_default", "_endpoint", "_groups", "_own", "_prefix", "_unit")

    def __init__(self, endpoint_id: str, unit: Unit, limits: Sequence[CompiledLimit]) -> None:
        self._prefix = f"moorage:limit:{endpoint_id}:{unit}:"
        self._unit = unit
        self._endpoint: Choice | None = None
        self._own: dict[str, Choice] = {}
        self._groups: dict[str, Allowance] = {}
        self._default: tuple[int, int] | None = None
        # Of two limits for the same, the lower one comes later and stays.
        for amount, limit in sorted(_of_unit(unit, limits), key=lambda pair: pair[0], reverse=True):
            principal, seconds = limit.principal_id, limit.seconds
            if limit.key is LimitKey.ENDPOINT:
                counter = self._counter("endpoint", "", seconds)
                self._endpoint = (Allowance(counter, unit, amount, seconds, limit.key, ""),)
            elif principal is None:
                self._default = (amount, seconds)
            elif limit.key is LimitKey.USER_GROUP:
                counter = self._counter("group", principal, seconds)
                self._groups[principal] = Allowance(counter, unit, amount, seconds, limit.key, limit.display)
            else:
                counter = self._counter("principal", principal, seconds)
                self._own[principal] = (Allowance(counter, unit, amount, seconds, limit.key, limit.display),)

    def _counter(self, kind: str, principal: str, seconds: int) -> str:
        return f"{self._prefix}{kind}:{principal}:{seconds}"

    def add_to(self, choices: Choices, caller: Caller) -> None:
        """Append what a request of this caller must pass."""
        if self._endpoint is not None:
            choices.append(self._endpoint)
        own = self._own.get(caller.id)
        if own is not None:
            choices.append(own)
            return
        if self._groups:
            member = tuple([allowance for group, allowance in self._groups.items() if group in caller.groups])
            if member:
                choices.append(member)
                return
        if self._default is not None:
            amount, seconds = self._default
            counter = self._counter("principal", caller.id, seconds)
            choices.append((Allowance(counter, self._unit, amount, seconds, LimitKey.USER, caller.user_name),))


def _of_unit(unit: Unit, limits: Sequence[CompiledLimit]) -> list[tuple[int, CompiledLimit]]:
    amounts = ((limit.calls if unit is Unit.CALLS else limit.tokens, limit) for limit in limits)
    return [(amount, limit) for amount, limit in amounts if amount is not None]
