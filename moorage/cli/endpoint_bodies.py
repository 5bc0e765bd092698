"""Request bodies of the serving endpoint API, from the options of the command line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from moorage.api.wire import name_from
from moorage.cli.client import ApiClient, Json
from moorage.cli.configuration import BadConfiguration

_MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))")
_MODEL_FORMS = "models:/NAME/VERSION, models:/NAME/latest or models:/NAME@ALIAS"
_REGISTRY = "/api/2.0/mlflow/registered-models"
# What an answer says of a served entity that a request may say too.
_ENTITY_INPUTS = (
    "name",
    "entity_name",
    "entity_version",
    "workload_size",
    "workload_type",
    "scale_to_zero_enabled",
    "min_provisioned_concurrency",
    "max_provisioned_concurrency",
    "environment_vars",
    "instance_profile_arn",
    "external_model",
)


@dataclass(frozen=True, slots=True)
class ServedEntityOptions:
    """The options that describe one served entity; None and empty where they are not given."""

    model: str | None = None
    entity_name: str | None = None
    entity_version: str | None = None
    served_name: str | None = None
    workload_size: str | None = None
    workload_type: str | None = None
    scale_to_zero: bool | None = None
    min_concurrency: int | None = None
    max_concurrency: int | None = None
    variables: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        return self != ServedEntityOptions()

    def fields(self, client: ApiClient) -> Json:
        """The fields of `served_entities` that the options give; a model's version or alias is looked up.

        Raises:
            BadConfiguration: options that exclude each other, or that cannot be read.
        """
        if self.model is not None and (self.entity_name is not None or self.entity_version is not None):
            raise BadConfiguration("give either --model, or --entity-name and --entity-version, not both")
        if self.entity_name is not None and self.entity_version is None:
            raise BadConfiguration("--entity-name needs --entity-version")
        name, version = self.entity_name, self.entity_version
        if self.model is not None:
            name, version = resolve_model(client, self.model)
        found = {
            "name": self.served_name,
            "entity_name": name,
            "entity_version": version,
            "workload_size": self.workload_size,
            "workload_type": self.workload_type,
            "scale_to_zero_enabled": self.scale_to_zero,
            "min_provisioned_concurrency": self.min_concurrency,
            "max_provisioned_concurrency": self.max_concurrency,
            "environment_vars": _pairs("--env", self.variables) or None,
        }
        return {field: value for field, value in found.items() if value is not None}


def resolve_model(client: ApiClient, uri: str) -> tuple[str, str]:
    """Name and version number of a model URI; asks the registry where it has an alias or `latest`.

    Raises:
        BadConfiguration: another form of URI, or a model without versions.
    """
    match = _MODEL_URI.fullmatch(uri)
    if match is None:
        raise BadConfiguration(f"the model must be {_MODEL_FORMS}")
    name, version, alias = match["name"], match["version"], match["alias"]
    if alias is not None:
        found = client.get(f"{_REGISTRY}/alias", {"name": name, "alias": alias})
        return name, str(found["model_version"]["version"])
    if version.isascii() and version.isdigit():
        return name, version
    if version != "latest":
        raise BadConfiguration(f"the model must be {_MODEL_FORMS}; '{version}' is no version number")
    versions = client.get(f"{_REGISTRY}/get-latest-versions", {"name": name}).get("model_versions", [])
    if not versions:
        raise BadConfiguration(f"the model '{name}' has no version")
    return name, str(max(int(each["version"]) for each in versions))


def create_body(
    client: ApiClient, name: str, options: ServedEntityOptions, description: str | None, tags: Sequence[str]
) -> Json:
    """The body that creates an endpoint of one served entity.

    Raises:
        BadConfiguration: no model is given, or an option cannot be read.
    """
    entity = options.fields(client)
    if "entity_name" not in entity or "entity_version" not in entity:
        raise BadConfiguration("give --model, or --entity-name and --entity-version, or --json")
    body: Json = {"name": name, "config": {"served_entities": [entity]}}
    if description is not None:
        body["description"] = description
    if tags:
        body["tags"] = [{"key": key, "value": value} for key, value in _tags(tags).items()]
    return body


def update_body(client: ApiClient, detail: Json, options: ServedEntityOptions, traffic: str | None) -> Json:
    """The configuration of `detail`, its active one if there is one, with the options over it.

    With one served entity the options change it; with several, the one that `served_name` names.

    Raises:
        BadConfiguration: there is nothing to change, or it is not clear which entity is meant.
    """
    current = detail.get("config") or detail.get("pending_config") or {}
    entities = [
        {field: entity[field] for field in _ENTITY_INPUTS if field in entity}
        for entity in current.get("served_entities", [])
    ]
    if not options.given and traffic is None:
        raise BadConfiguration("nothing to change: give --model or another option, --traffic, or --json")
    if options.given:
        fields = options.fields(client)
        if not entities:
            entities = [{}]
        chosen = _chosen(entities, options.served_name)
        entities[chosen] = _changed(entities[chosen], fields)
    body: Json = {"served_entities": entities}
    if traffic is not None:
        body["traffic_config"] = {"routes": _routes(traffic)}
    elif len(entities) > 1:
        body["traffic_config"] = current["traffic_config"]
    return body


def given_document(argument: str) -> Json:
    """The JSON object of a `--json` option.

    Raises:
        BadConfiguration: it cannot be read, or is no JSON object.
    """
    try:
        document = json.loads(given_text(argument), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadConfiguration(f"--json is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadConfiguration("--json must be a JSON object")
    return document


def given_text(argument: str) -> bytes:
    """The bytes of a `--json` option: the text itself, a file, or `-` for the standard input.

    Raises:
        BadConfiguration: the file cannot be read.
    """
    if argument == "-":
        return sys.stdin.buffer.read()
    if argument.lstrip().startswith(("{", "[")):
        return argument.encode(errors="surrogateescape")
    try:
        return Path(argument).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadConfiguration(f"--json: cannot read the file '{argument}': {reason}") from error


def _chosen(entities: list[Json], served_name: str | None) -> int:
    if len(entities) == 1:
        return 0
    names = [entity["name"] for entity in entities]
    if served_name not in names:
        raise BadConfiguration(
            f"the endpoint serves {len(names)} entities: name the one to change with --served-name "
            f"({', '.join(names)}), or give all of them with --json"
        )
    return names.index(served_name)


def _changed(entity: Json, fields: Json) -> Json:
    """The two ways to give a size exclude each other, and a name made from the old version goes with it."""
    kept = dict(entity)
    if "workload_size" in fields:
        kept.pop("min_provisioned_concurrency", None)
        kept.pop("max_provisioned_concurrency", None)
    elif {"min_provisioned_concurrency", "max_provisioned_concurrency"} & fields.keys():
        kept.pop("workload_size", None)
    if kept.get("name") == _default_name(entity):
        kept.pop("name", None)
    changed = {**kept, **fields}
    if "environment_vars" in fields:
        changed["environment_vars"] = {**kept.get("environment_vars", {}), **fields["environment_vars"]}
    return changed


def _default_name(entity: Json) -> str | None:
    if "entity_name" not in entity or "entity_version" not in entity:
        return None
    return name_from(entity["entity_name"].rpartition(".")[2], f"-{entity['entity_version']}")


def _routes(traffic: str) -> list[Json]:
    routes = []
    for part in traffic.split(","):
        name, equals, share = part.strip().rpartition("=")
        if not (equals and name and share.isascii() and share.isdigit()):
            raise BadConfiguration("--traffic must be shares in percent, such as a=90,b=10")
        routes.append({"served_model_name": name, "traffic_percentage": int(share)})
    return routes


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """The values are not repeated in errors: one of them may be a secret."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadConfiguration(f"{option} must be KEY=VALUE")
        pairs[key] = value
    return pairs


def _tags(texts: Sequence[str]) -> dict[str, str]:
    return _pairs("--tag", [text if "=" in text else f"{text}=" for text in texts])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


