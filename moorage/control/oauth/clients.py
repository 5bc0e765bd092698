"""The public clients that may ask a user for consent, and where their answers may go."""

from __future__ import annotations

import re

PUBLIC_CLIENTS = {"databricks-cli": "Databricks CLI or SDK"}
"""Client id to the words of the consent page. They have no secret: the code goes to the user's own machine only."""

ALL_APIS = "all-apis"
SCOPES = (ALL_APIS, "offline_access")

_LOOPBACK = re.compile(r"http://(?:localhost|127\.0\.0\.1):([0-9]{1,5})(?:/[A-Za-z0-9/_.-]*)?")


def is_loopback(redirect_uri: str) -> bool:
    """Whether it is plain HTTP to a port of the user's own machine (RFC 8252), and nothing else."""
    match = _LOOPBACK.fullmatch(redirect_uri)
    return match is not None and 0 < int(match[1]) < 2**16


def granted_scope(requested: str) -> str | None:
    """The scope that a request gets, which is all of what it asks for; None when there is no such scope."""
    asked = requested.split()
    if not set(asked) <= set(SCOPES):
        return None
    return " ".join(scope for scope in SCOPES if scope in asked or scope == ALL_APIS)
