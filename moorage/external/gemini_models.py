"""What the name of a Google model says about it."""

from __future__ import annotations

import re

from moorage.api.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
_RETIRED = re.compile(r"(^|-)(bison|gecko|unicorn)([@-]|$)")
_VERSION = re.compile(r"gemini-(\d+)")
_LATEST = re.compile(r"gemini(-[a-z]+)*-latest")
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}


def model_name(name: str) -> str:
    """The name as paths have it.

    Raises:
        BadRequest: no model of Google's is called that, or it was retired with PaLM.
    """
    plain = name.removeprefix("models/").removeprefix("publishers/google/models/").removeprefix("google/")
    if not _NAME.fullmatch(plain):
        raise BadRequest(f"'external_model.name' must be the name of a Google model, not '{name}'.")
    if _RETIRED.search(plain):
        instead = "gemini-embedding-001" if "gecko" in plain and "code" not in plain else "gemini-2.5-flash"
        raise BadRequest(
            f"The model '{name}' was retired together with the PaLM API: "
            f"give a Gemini model such as '{instead}' as 'external_model.name'."
        )
    return plain


def thinks_by_level(model: str) -> bool:
    """Whether it is Gemini 3 or later: told a level of thinking, not a budget, and wants its signatures back."""
    version = _VERSION.match(model)
    return int(version[1]) >= 3 if version else _LATEST.fullmatch(model) is not None


def thinking(model: str, effort: object) -> dict[str, str | int]:
    """`thinkingConfig` for OpenAI's `reasoning_effort`, with the budgets of Google's own OpenAI interface.

    Raises:
        BadRequest: it is no effort, or none that the model can do.
    """
    if not isinstance(effort, str) or effort not in _BUDGETS:
        raise BadRequest(f"'reasoning_effort' must be one of {', '.join(repr(one) for one in _BUDGETS)}.")
    if not thinks_by_level(model):
        return {"thinkingBudget": _BUDGETS[effort]}
    if effort == "none":
        raise BadRequest(f"'reasoning_effort' cannot be 'none': '{model}' always thinks; the least is 'minimal'.")
    if effort == "minimal" and "-pro" in model:
        effort = "low"  # the least that models of this kind take
    return {"thinkingLevel": effort.upper()}
