"""Which system user a creator's models run as."""

from __future__ import annotations

import grp
import pwd

from moorage.compute.base import Interpreter
from moorage.control.reconciler.context import Context, in_thread
from moorage.environments.builder import Environment
from moorage.separation import models_are_separated

_NEVER = (65534, 65535)  # nobody, and what 16 bits take for no user at all


async def interpreter_of(context: Context, environment: Environment, creator_id: str) -> Interpreter:
    """An environment as compute needs it, run by the system user of who created the endpoint."""
    return Interpreter(environment.key, environment.python, await model_uid(context, creator_id))


async def model_uid(context: Context, creator_id: str) -> int | None:
    """The id of that system user, and of its group; None where models are not separated.

    It has no name and no home. It is given out at the first question and stays the creator's for good.
    """
    if not models_are_separated(context.settings):
        return None
    base = context.settings.model_uid_base
    return base + await in_thread(context.records.model_number, creator_id, lambda number: _is_free(base + number))


def _is_free(uid: int) -> bool:
    if uid in _NEVER:
        return False
    try:
        pwd.getpwuid(uid)
    except KeyError:
        pass
    else:
        return False
    try:
        grp.getgrgid(uid)
    except KeyError:
        return True
    return False
