"""The query schema of a serving endpoint: from rows and model folders to the OpenAPI document."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.api.endpoints import Readiness
from moorage.api.errors import BadRequest, InternalError
from moorage.api.routing import Principal
from moorage.api.served_entities import CustomModelSpec, stored_spec
from moorage.control.dependencies import ControlDependencies, Site
from moorage.control.endpoint_rows import find_visible, rows_of
from moorage.control.endpoint_views import readiness
from moorage.control.external_query_schema import external_document
from moorage.control.model_signature import ModelFilesError, read_model
from moorage.control.query_schema import ServedSignature, open_api_document
from moorage.control.store.engine import reading

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _ServedFolder:
    served_name: str
    model_path: str | None


@dataclass(frozen=True, slots=True)
class QuerySchemas:
    """Reads the models' folders anew for every document; they are small files."""

    deps: ControlDependencies
    site: Site

    def get(self, caller: Principal, name: str) -> dict[str, Any]:
        """The OpenAPI document of the configuration that serves.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
            BadRequest: the endpoint is not READY, or a served entity's model has no signature.
            InternalError: a served entity's model files are damaged.
        """
        with reading(self.deps.sessions) as session:
            endpoint, _ = find_visible(session, caller, name)
            rows = rows_of(session, endpoint)
            if rows.active is None or readiness(rows) is not Readiness.READY:
                raise BadRequest(
                    f"Endpoint '{name}' is not ready. Its query schema can be read when its state is READY."
                )
            version = rows.active.version
            specs = [stored_spec(one.spec) for one in rows.serving()]
            folders = [_ServedFolder(one.served_name, one.model_path) for one in rows.serving()]
        language = [spec for spec in specs if not isinstance(spec, CustomModelSpec)]
        if language:
            names = [spec.name for spec in language]
            return external_document(name, version, self.site.base_url, language[0].task, names)
        served = [_described(folder) for folder in folders]
        return open_api_document(name, version, self.site.base_url, served)


def _described(folder: _ServedFolder) -> ServedSignature:
    name = folder.served_name
    try:
        if folder.model_path is None:
            raise ModelFilesError("the folder of the model is not known")
        model = read_model(Path(folder.model_path))
    except ModelFilesError as error:
        _logger.exception("the files of served entity %s in %s are damaged", name, folder.model_path)
        raise InternalError(f"The model files of served entity '{name}' are damaged: {error}") from error
    if model.signature is None:
        raise BadRequest(
            f"The model of served entity '{name}' has no signature with inputs, which a query schema is made of. "
            "Log the model with signature= or input_example= and serve that version."
        )
    return ServedSignature(name, model.signature, model.input_example)
