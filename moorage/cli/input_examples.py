"""A query's body out of an endpoint's OpenAPI document: the input example that was logged with the model."""

from __future__ import annotations

from typing import Any

from moorage.cli.client import ApiClient, Json, endpoint_path
from moorage.cli.configuration import BadConfiguration

_SPLIT = "dataframe_split"


def example_body(client: ApiClient, name: str, served: str | None) -> Json:
    """The body of a query with the example of `served`, or of the first served entity.

    Raises:
        ApiRefused: the endpoint has no OpenAPI document: no signature, or it is not ready.
        BadConfiguration: the document has no example.
    """
    paths = client.get(endpoint_path(name, "openapi")).get("paths", {})
    wanted = f"/served-models/{served}/invocations"
    operation = paths.get(wanted) if served is not None else next(iter(paths.values()), None)
    media = _media(operation)
    if isinstance(media.get("example"), dict):
        return dict(media["example"])
    # The documents of Databricks have it in the member of the split form alone.
    schema = media.get("schema", {})
    for member in schema.get("oneOf", [schema]):
        if member.get("examples") and _SPLIT in member.get("properties", {}):
            return {_SPLIT: member["examples"][0]}
    raise BadConfiguration(
        f"endpoint '{name}' has no input example; log the model with input_example, or give the body with --json"
    )


def _media(operation: Any) -> Json:
    if not isinstance(operation, dict):
        return {}
    content = operation.get("post", {}).get("requestBody", {}).get("content", {})
    media = content.get("application/json", {})
    return media if isinstance(media, dict) else {}
