"""Random ids of the forms that clients expect."""

from __future__ import annotations

import secrets


def new_workspace_id() -> str:
    """16 digits in text, the first not zero: it must survive a trip through a JSON number."""
    return str(10**15 + secrets.randbelow(9 * 10**15 - 10**15))


def new_user_id() -> str:
    """16 digits in text."""
    return new_workspace_id()


def new_group_id() -> str:
    """16 digits in text; no user has it too, since users and groups draw from the same numbers."""
    return new_user_id()


def new_object_id() -> str:
    """32 lower-case hex digits: an endpoint's or a deployment's id."""
    return secrets.token_hex(16)


def new_token_id() -> str:
    """64 lower-case hex digits."""
    return secrets.token_hex(32)
