"""Names of endpoints and served entities for the shell's completion. A shell that asks is never told of errors."""

from __future__ import annotations

from typing import Any

import typer

from moorage.cli.configuration import BadConfiguration

_SECONDS = 2.0


def endpoint_names(context: typer.Context, incomplete: str) -> list[str]:
    """The endpoints whose names begin with what is there; none when the server cannot be asked."""
    answer = _ask(context, "")
    names = [str(endpoint.get("name")) for endpoint in answer.get("endpoints", [])]
    return [name for name in names if name.startswith(incomplete)]


def served_names(context: typer.Context, incomplete: str) -> list[str]:
    """The served entities of the endpoint that the command names."""
    endpoint = context.params.get("name")
    answer = _ask(context, endpoint) if endpoint else {}
    names = {
        str(entity.get("name"))
        for key in ("config", "pending_config")
        for entity in answer.get(key, {}).get("served_entities", [])
    }
    return sorted(name for name in names if name.startswith(incomplete))


def _ask(context: typer.Context, endpoint: str) -> dict[str, Any]:
    from moorage.cli.client import ENDPOINTS, ApiRefused, Unreachable, connect, endpoint_path

    given = context.params
    try:
        client = connect(given.get("host"), given.get("token"), given.get("data_dir"), answer_seconds=_SECONDS)
        return client.get(endpoint_path(endpoint) if endpoint else ENDPOINTS)
    except (ApiRefused, BadConfiguration, Unreachable):
        return {}
