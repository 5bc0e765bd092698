"""Logs and events of an endpoint: which served entity is meant, and following what is still being written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from moorage.cli.client import ApiClient, Json, Params, endpoint_path
from moorage.cli.configuration import BadConfiguration


def served_model(client: ApiClient, name: str, given: str | None, version: int | None) -> str:
    """The served entity to read the log of: the one given, else the only one of the configuration.

    Raises:
        BadConfiguration: there are several, or none.
    """
    if given is not None:
        return given
    names = _served_names(client, name, version)
    if len(names) == 1:
        return names[0]
    if not names:
        configuration = f"configuration version {version}" if version else "configuration"
        raise BadConfiguration(f"endpoint '{name}' has no {configuration}")
    raise BadConfiguration(f"endpoint '{name}' serves several: give --served-model, one of {', '.join(names)}")


def log_text(client: ApiClient, name: str, served: str, kind: str, version: int | None) -> Json:
    """The answer of the route `kind`, `logs` or `build-logs`."""
    return client.get(endpoint_path(name, "served-models", served, kind), _of_version(version))


def follow_log(
    client: ApiClient, name: str, served: str, kind: str, version: int | None, replica: str | None
) -> Iterator[str]:
    """The lines of a log as they are written, until its end; of one replica, if one is given, without its tag."""
    path = endpoint_path(name, "served-models", served, kind, "stream")
    of_replica = {} if replica is None else {"replica": replica}
    for event in client.stream(path, {**_of_version(version), **of_replica}):
        if event.name == "line":
            yield event.data


def lines_of_replica(
    client: ApiClient, name: str, served: str, version: int | None, replica: str, lines: Iterable[str]
) -> list[str]:
    """Those lines of a service log that one replica wrote, without its tag.

    Raises:
        BadConfiguration: no replica with that id or tag has a log.
    """
    path = endpoint_path(name, "served-models", served, "log-files")
    files = client.get(path, _of_version(version)).get("log_files", [])
    for file in files:
        if replica in (file["replica"], file["tag"]):
            tag = f"[{file['tag']}] "
            return [line.removeprefix(tag) for line in lines if line.startswith(tag)]
    known = ", ".join(file["tag"] for file in files) or "none"
    raise BadConfiguration(f"no log of a replica '{replica}'; there are logs of: {known}")


def follow_events(client: ApiClient, name: str, filters: Params, known: Sequence[Json]) -> Iterator[Json]:
    """Events as they happen, after those of `known`, which have been read before."""
    newest = max((int(event.get("id", 0)) for event in known), default=0)
    for message in client.stream(endpoint_path(name, "events", "stream"), filters, str(newest)):
        if message.name == "event":
            yield json.loads(message.data)


def _served_names(client: ApiClient, name: str, version: int | None) -> list[str]:
    detail = client.get(endpoint_path(name))
    configs = [detail[key] for key in ("config", "pending_config") if key in detail]
    if version is not None:
        configs = [config for config in configs if config.get("config_version") == version]
        if not configs:
            versions = client.get(endpoint_path(name, "config-versions")).get("config_versions", [])
            configs = [each["config"] for each in versions if each.get("config_version") == version]
    return [str(entity["name"]) for config in configs[:1] for entity in config.get("served_entities", [])]


def _of_version(version: int | None) -> dict[str, int]:
    return {} if version is None else {"config_version": version}
