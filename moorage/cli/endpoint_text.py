"""Serving endpoints as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moorage.cli.client import Json
from moorage.cli.output import local_time, table

_UPDATES = {
    "IN_PROGRESS": " (updating)",
    "UPDATE_FAILED": " (update failed)",
    "UPDATE_CANCELED": " (update canceled)",
}


def state(endpoint: Json) -> str:
    """The state in the words of the Databricks UI, such as `Ready (updating)`."""
    if endpoint.get("stopped"):
        return "Stopped"
    values = endpoint.get("state", {})
    words = "Ready" if values.get("ready") == "READY" else "Not ready"
    return words + _UPDATES.get(str(values.get("config_update")), "")


def model(entity: Json) -> str:
    """What a served entity serves: name and version, or an external model's provider, name and task."""
    if "external_model" in entity:
        external = entity["external_model"]
        return f"{external.get('provider', '')}/{external.get('name', '')} ({external.get('task', '')})"
    if "foundation_model" in entity:
        return str(entity["foundation_model"].get("name", ""))
    version = entity.get("entity_version")
    return f"{entity.get('entity_name', '')}/{version}" if version else str(entity.get("entity_name", ""))


def shares(config: Json) -> dict[str, int]:
    """Percent of the traffic by served entity."""
    routes = config.get("traffic_config", {}).get("routes", [])
    return {
        str(route.get("served_model_name") or route.get("served_entity_name")): route.get("traffic_percentage", 0)
        for route in routes
    }


def listing(endpoints: Sequence[tuple[Json, str]]) -> str:
    """A table of endpoints, each with the text of its traffic."""
    header = ("NAME", "STATE", "SERVED ENTITIES", "TRAFFIC", "CREATOR", "LAST MODIFIED")
    rows = []
    for endpoint, traffic in endpoints:
        entities = endpoint.get("config", {}).get("served_entities", [])
        served = ", ".join(f"{entity.get('name')}: {model(entity)}" for entity in entities)
        modified = local_time(endpoint.get("last_updated_timestamp"))
        rows.append(
            (str(endpoint.get("name")), state(endpoint), served, traffic, str(endpoint.get("creator", "")), modified)
        )
    return table(header, rows)


def traffic(config: Json) -> str:
    """`a 90%, b 10%`."""
    return ", ".join(f"{name} {share}%" for name, share in shares(config).items())


def summary(endpoint: Json, host: str) -> str:
    """Everything about one endpoint that a person asks first."""
    lines = [f"{label + ':':<15} {value}" for label, value in _facts(endpoint, host)]
    for key, title in (("config", "Active configuration"), ("pending_config", "Pending configuration")):
        if key in endpoint:
            lines += ["", *_configuration(title, endpoint[key])]
    return "\n".join(lines)


def event_line(event: Json) -> str:
    """One event on one line, and further lines of its message below it."""
    words = (
        local_time(event.get("timestamp")),
        f"{event.get('status', '-'):<7}",
        str(event.get("event_type", "-")),
        str(event.get("served_entity_name") or "-"),
        "\n    ".join(str(event.get("message", "")).splitlines()),
    )
    return "  ".join(words).rstrip()


def failure(endpoint: Json) -> str:
    """Why the update of an endpoint failed: the messages of the entities that did."""
    entities = endpoint.get("pending_config", {}).get("served_entities", [])
    failed = [
        f"{entity.get('name')}: {_message(entity) or 'failed'}"
        for entity in entities
        if entity.get("state", {}).get("deployment") == "DEPLOYMENT_FAILED"
    ]
    return "; ".join(failed) or "the server gives no reason"


def _facts(endpoint: Json, host: str) -> Iterator[tuple[str, str]]:
    yield "Name", str(endpoint.get("name"))
    yield "State", state(endpoint)
    if endpoint.get("description"):
        yield "Description", endpoint["description"]
    yield "Creator", str(endpoint.get("creator", "-"))
    yield "Created", local_time(endpoint.get("creation_timestamp"))
    yield "Last modified", local_time(endpoint.get("last_updated_timestamp"))
    if "permission_level" in endpoint:
        yield "Permission", endpoint["permission_level"]
    if endpoint.get("tags"):
        yield "Tags", ", ".join(f"{tag.get('key')}={tag.get('value', '')}" for tag in endpoint["tags"])
    yield "Query", endpoint.get("endpoint_url") or f"{host}/serving-endpoints/{endpoint.get('name')}/invocations"


def _configuration(title: str, config: Json) -> Iterator[str]:
    since = f", since {local_time(config['start_time'])}" if "start_time" in config else ""
    yield f"{title}, version {config.get('config_version', '-')}{since}"
    share = shares(config)
    entities = config.get("served_entities", [])
    header = ("SERVED ENTITY", "MODEL", "SIZE", "SCALE TO ZERO", "TRAFFIC", "STATE")
    rows = [
        (
            str(entity.get("name")),
            model(entity),
            _size(entity),
            _scale_to_zero(entity),
            f"{share[entity['name']]}%" if entity.get("name") in share else "-",
            str(entity.get("state", {}).get("deployment", "")).removeprefix("DEPLOYMENT_"),
        )
        for entity in entities
    ]
    yield from (f"  {line}" for line in table(header, rows).splitlines())
    for entity in entities:
        if variables := entity.get("environment_vars"):
            yield f"  {entity.get('name')} has the environment variables {', '.join(sorted(variables))}"
        if message := _message(entity):
            yield "\n    ".join(f"  {entity.get('name')}: {message}".splitlines())


def _size(entity: Json) -> str:
    if "external_model" in entity:
        return "-"
    size = entity.get("workload_size")
    if not size and "max_provisioned_concurrency" in entity:
        size = f"{entity.get('min_provisioned_concurrency', 0)}-{entity['max_provisioned_concurrency']} concurrent"
    kind = entity.get("workload_type", "CPU")
    return " ".join(part for part in (str(size or ""), "" if kind == "CPU" else str(kind)) if part)


def _scale_to_zero(entity: Json) -> str:
    """An external model has no scale."""
    if "external_model" in entity:
        return "-"
    return "yes" if entity.get("scale_to_zero_enabled") else "no"


def _message(entity: Json) -> str:
    return str(entity.get("state", {}).get("deployment_state_message") or "")
