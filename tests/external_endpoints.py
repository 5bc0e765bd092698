"""Endpoints of every provider, created through the API, all answered by the fake provider."""

from __future__ import annotations

import json
from functools import cache
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from providers_of_tests import WAYS, Way
from server import Json, Server

from moorage.api.external_models import CONFIG_FIELDS, Provider

CHAT, COMPLETIONS, EMBEDDINGS = "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"
PATH = "/api/2.0/serving-endpoints"


class Embedder(NamedTuple):
    """A way with a model of embeddings, and what differs in its options."""

    way: str
    model: str
    options: dict[str, str]


EMBEDDERS = {
    "openai": Embedder("openai", "text-embedding-3-small", {}),
    "azure": Embedder("azure", "text-embedding-3-small", {}),
    "azuread": Embedder("azuread", "text-embedding-3-small", {}),
    "cohere": Embedder("cohere", "embed-v4.0", {}),
    "titan": Embedder("bedrock", "amazon.titan-embed-text-v2:0", {"bedrock_provider": "amazon"}),
    "bedrock-cohere": Embedder("bedrock", "cohere.embed-english-v3", {"bedrock_provider": "cohere"}),
    "palm": Embedder("palm", "gemini-embedding-001", {}),
    "vertex": Embedder("vertex", "gemini-embedding-001", {}),
    "databricks": Embedder("databricks", "elsewhere", {}),
    "custom": Embedder("custom", "any", {"custom_provider_url": "{base}/custom/embeddings"}),
}
"""The providers that have embeddings."""


@cache
def account_key(base: str) -> str:
    """The key file of a service account of Google's whose tokens the fake provider gives out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {
        "type": "service_account",
        "client_email": "moorage@fake-project.iam.gserviceaccount.com",
        "private_key": pem,
        "token_uri": f"{base}/token",
    }
    return json.dumps(account)


def all_ways(base: str) -> dict[str, Way]:
    """Those of `providers_of_tests`, and Vertex AI, whose credential says where its tokens come from."""
    options = {"project_id": "fake-project", "region": "us-central1", "vertex_api_base": "{base}"}
    vertex = Way(Provider.GOOGLE_CLOUD_VERTEX_AI, "gemini-2.5-pro", options, {"private_key": account_key(base)})
    return {**WAYS, "vertex": vertex}


CHATTERS = (*WAYS, "vertex")
"""The names of all ways to a chat model."""


def external_entity(way: Way, base: str, task: str, name: str = "entity") -> Json:
    """The served entity of a provider's model, with credentials as text."""
    options = way.at(base)
    secrets = way.credentials
    if way.provider is Provider.CUSTOM:
        config: Json = {**options, "bearer_token_auth": {"token_plaintext": secrets["bearer_token"]}}
    else:
        config = {**options, **{f"{field}_plaintext": text for field, text in secrets.items()}}
    model = {"name": way.model, "provider": way.provider.value, "task": task, CONFIG_FIELDS[way.provider]: config}
    return {"name": name, "external_model": model}


def create_external(server: Server, name: str, entity: Json, **more: object) -> None:
    """An endpoint of that entity; it is ready in the answer."""
    answer = server.http.post(PATH, json={"name": name, "config": {"served_entities": [entity]}, **more})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"]["ready"] == "READY", answer.text


class ExternalEndpoints:
    """Makes the endpoints of a module, each when it is first asked for, and removes them all at its end."""

    def __init__(self, server: Server, base: str, prefix: str) -> None:
        self._server = server
        self._base = base
        self._prefix = prefix
        self._ways = all_ways(base)
        self.names: list[str] = []

    def chat(self, way: str) -> str:
        """The endpoint of a way's chat model."""
        return self._made(way, CHAT, self._ways[way])

    def completions(self, way: str) -> str:
        """The endpoint that completes texts with a way's model."""
        return self._made(way, COMPLETIONS, self._ways[way])

    def embeddings(self, embedder: str) -> str:
        """The endpoint of an embedder's model."""
        of, model, options = EMBEDDERS[embedder]
        way = self._ways[of]
        return self._made(embedder, EMBEDDINGS, way._replace(model=model, options={**way.options, **options}))

    def named(self, kind: str, way: Way, task: str = CHAT, **more: object) -> str:
        """An endpoint of its own for a way that differs."""
        name = f"{self._prefix}-{kind}"
        if name not in self.names:
            create_external(self._server, name, external_entity(way, self._base, task), **more)
            self.names.append(name)
        return name

    def way(self, name: str) -> Way:
        return self._ways[name]

    def remove(self) -> None:
        for name in self.names:
            self._server.delete(name)

    def _made(self, key: str, task: str, way: Way) -> str:
        return self.named(f"{key}-{task.rpartition('/')[2]}", way, task)
