"""What the control plane asks of external models, and how it keeps their credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moorage.api.addresses import host_of, is_forbidden_host
from moorage.api.errors import InvalidParameterValue
from moorage.api.external_models import CONFIG_FIELDS
from moorage.api.served_entities import EntitySpec, ExternalModelSpec, ServedEntityInput
from moorage.encryption import CannotDecrypt, Encryption
from moorage.settings import Settings

_URLS = (
    "ai21labs_api_base",
    "anthropic_api_base",
    "bedrock_api_base",
    "cohere_api_base",
    "custom_provider_url",
    "databricks_workspace_url",
    "microsoft_entra_authority",
    "openai_api_base",
    "palm_api_base",
    "vertex_api_base",
)


def require_allowed_addresses(settings: Settings, entities: Iterable[ServedEntityInput], where: str) -> None:
    """Whether this server may go where these providers are. `where` is the field that holds the entities.

    Looks at addresses and at well-known names only; other names are looked up, and looked at, by the gateways.

    Raises:
        InvalidParameterValue: it may not.
    """
    if settings.allow_metadata_addresses:
        return
    for number, entity in enumerate(entities):
        if entity.external_model is None:
            continue
        for field, value in entity.external_model.config.options.items():
            if field in _URLS and is_forbidden_host(host_of(value)):
                config = CONFIG_FIELDS[entity.external_model.provider]
                raise InvalidParameterValue(
                    f"Invalid value for '{where}[{number}].external_model.{config}.{field}': must not lead to a "
                    "link-local address or a metadata service, unless MOORAGE_ALLOW_METADATA_ADDRESSES is set"
                )


def stored_purpose(endpoint_id: str) -> str:
    """What credentials in the database are sealed for: those of another endpoint open nothing here."""
    return f"external-model/{endpoint_id}"


def sealing(encryption: Encryption, endpoint_id: str) -> Callable[[str], str]:
    """Makes what may be stored of a credential's text."""
    return lambda text: encryption.seal(stored_purpose(endpoint_id), text)


def opened(encryption: Encryption, endpoint_id: str, spec: ExternalModelSpec) -> dict[str, str]:
    """The credentials that were given as text.

    Raises:
        CannotDecrypt: the row is damaged, or was written with another key.
    """
    return {name: encryption.open(stored_purpose(endpoint_id), token) for name, token in spec.sealed.items()}


def is_unchanged(encryption: Encryption, endpoint_id: str, old: EntitySpec, new: EntitySpec) -> bool:
    """Whether a served entity is left as it is. The same text is sealed differently each time."""
    if old.model_dump(exclude={"sealed"}) != new.model_dump(exclude={"sealed"}):
        return False
    if not isinstance(old, ExternalModelSpec) or not isinstance(new, ExternalModelSpec):
        return True
    try:
        return opened(encryption, endpoint_id, old) == opened(encryption, endpoint_id, new)
    except CannotDecrypt:
        return False
