"""The web UI's client is generated from the API as it is: `python web/build.py --generate` makes it so again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moorage.control.app import api_document

DOCUMENT = Path(__file__).parents[2] / "web" / "openapi.json"
_OF_THE_FRAMEWORK = {"HTTPValidationError", "ValidationError"}  # they change with its version, and nobody reads them

Json = dict[str, Any]


def routes(document: Json) -> dict[str, Json]:
    """What the client's types say of each route."""
    return {
        f"{method.upper()} {path}": {
            "parameters": operation.get("parameters"),
            "body": operation.get("requestBody"),
            "answer": operation["responses"].get("200"),
        }
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def schemas(document: Json) -> Json:
    return {name: one for name, one in document["components"]["schemas"].items() if name not in _OF_THE_FRAMEWORK}


def test_the_document_of_the_client_is_the_apis() -> None:
    generated = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(api_document()))
    assert routes(generated) == routes(now)
    assert schemas(generated) == schemas(now)
