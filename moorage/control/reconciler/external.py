"""External models on the way to the gateways: their credentials read anew, and sealed for the route."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from moorage.api.routing import ExternalRoute, credential_purpose
from moorage.api.served_entities import ExternalModelSpec
from moorage.control.external_models import opened
from moorage.control.reconciler.records import EndpointRecord
from moorage.control.secret_references import SecretReader, SecretUnreadable, references_of
from moorage.encryption import CannotDecrypt, Encryption


class ExternalRoutes:
    """Those of one endpoint.

    A credential that has not changed keeps the token that it was sealed in: a route is told again only when something
    about it is different. Tokens are remembered by a digest of their text.
    """

    def __init__(self, secrets: SecretReader, encryption: Encryption) -> None:
        self._secrets = secrets
        self._encryption = encryption
        self._tokens: dict[bytes, str] = {}

    def read(self, record: EndpointRecord) -> dict[str, ExternalRoute]:
        """The external models that the endpoint serves, by deployment. Synchronous: call it in a thread."""
        earlier, self._tokens = self._tokens, {}
        return {one: self._route(record, spec, earlier) for one, spec in external_models(record).items()}

    def _route(
        self, record: EndpointRecord, spec: ExternalModelSpec, earlier: Mapping[bytes, str]
    ) -> ExternalRoute:
        credentials, problem = {}, ""
        try:
            texts = opened(self._encryption, record.id, spec)
            texts.update(self._secrets.credentials(spec.references, record.creator_id))
            credentials = {name: self._sealed(record.id, text, earlier) for name, text in texts.items()}
        except SecretUnreadable as error:
            problem = str(error)
        except CannotDecrypt as error:
            problem = f"A credential given as text cannot be decrypted: {error}. Give it again by an update."
        return ExternalRoute(
            provider=spec.provider,
            model=spec.model,
            options=spec.options,
            credentials=credentials,
            problem=problem,
        )

    def _sealed(self, endpoint_id: str, text: str, earlier: Mapping[bytes, str]) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        token = self._tokens.get(digest) or earlier.get(digest)
        if token is None:
            token = self._encryption.seal(credential_purpose(endpoint_id), text)
        self._tokens[digest] = token
        return token


def external_models(record: EndpointRecord) -> dict[str, ExternalModelSpec]:
    """The external models of the configuration that serves, by deployment."""
    specs = {one: record.deployments[one].spec for one in record.active.served.values()}
    return {one: spec for one, spec in specs.items() if isinstance(spec, ExternalModelSpec)}


def secret_scopes(record: EndpointRecord) -> frozenset[str]:
    """The secret scopes that what is published of the endpoint depends on."""
    return frozenset(
        reference.scope for spec in external_models(record).values() for reference in references_of(spec)
    )
