"""External models: a provider's model behind an endpoint, and the credentials that each provider takes.

A credential is a pair of fields: `X` holds a reference to a stored secret, `X_plaintext` the text itself.
Source: Databricks REST reference, serving endpoints, create (`external_model`). The base URLs that the reference
does not have are Moorage's own: with them every provider can be reached through a proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from moorage.api.addresses import BaseUrl
from moorage.api.wire import ShortText, Text, WireInput, WireOutput, missing_field

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # a token of RFC 9110
_HEADERS_OF_THE_MESSAGE = {
    "host", "content-length", "content-type", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade",
}  # fmt: skip
SECRET_REFERENCE = re.compile(r"\{\{secrets/(?P<scope>[^/{}\s]+)/(?P<key>[^/{}\s]+)\}\}")
_PLAINTEXT = "_plaintext"
_LONGEST_PLAINTEXT = 128 * 1024
_REGION = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Provider(StrEnum):
    AI21LABS = "ai21labs"
    ANTHROPIC = "anthropic"
    AMAZON_BEDROCK = "amazon-bedrock"
    COHERE = "cohere"
    CUSTOM = "custom"
    DATABRICKS_MODEL_SERVING = "databricks-model-serving"
    GOOGLE_CLOUD_VERTEX_AI = "google-cloud-vertex-ai"
    OPENAI = "openai"
    PALM = "palm"


class ExternalTask(StrEnum):
    CHAT = "llm/v1/chat"
    COMPLETIONS = "llm/v1/completions"
    EMBEDDINGS = "llm/v1/embeddings"


class BedrockProvider(StrEnum):
    ANTHROPIC = "anthropic"
    COHERE = "cohere"
    AI21LABS = "ai21labs"
    AMAZON = "amazon"


class OpenAIApiType(StrEnum):
    OPENAI = "openai"
    AZURE = "azure"
    AZURE_AD = "azuread"


def _reference(text: str) -> str:
    if not SECRET_REFERENCE.fullmatch(text):
        raise ValueError("must be a secret reference of the form {{secrets/<scope>/<key>}}")
    return text


def _region(text: str) -> str:
    """It becomes part of a host's name."""
    if not _REGION.fullmatch(text):
        raise ValueError("must be the name of a region: lower-case letters, digits and '-'")
    return text


def _header_name(text: str) -> str:
    if not _HEADER_NAME.fullmatch(text) or text.lower() in _HEADERS_OF_THE_MESSAGE:
        raise ValueError("must be the name of a header that may hold a key, such as 'x-api-key'")
    return text


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _plaintext(text: SecretStr) -> SecretStr:
    value = text.get_secret_value()
    if not value.strip() or "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be text that is not empty, without NUL characters")
    return text


Plaintext = Annotated[SecretStr, Field(max_length=_LONGEST_PLAINTEXT), AfterValidator(_plaintext)]
SecretReference = Annotated[Text, AfterValidator(_reference)]
Region = Annotated[ShortText, AfterValidator(_region)]


class ProviderConfig(WireInput):
    """Base of what holds credential pairs. `required` names the pairs that must be there."""

    required: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _one_of_each_pair(self) -> ProviderConfig:
        for pair in self._pairs():
            if pair in self.references and pair in self.plaintexts:
                raise ValueError(f"give either '{pair}' or '{pair}{_PLAINTEXT}', not both")
        for pair in self.required:
            if not self.has(pair):
                raise missing_field(pair)
        return self

    def has(self, pair: str) -> bool:
        """Whether one member of the pair was given."""
        return pair in self.references or pair in self.plaintexts

    @property
    def options(self) -> dict[str, str]:
        """What was given beside credentials, by field."""
        given = ((field, getattr(self, field)) for field in type(self).model_fields if field in self.model_fields_set)
        return {field: str(value) for field, value in given if value is not None and not self._is_secret(field)}

    @property
    def references(self) -> dict[str, str]:
        """The credentials that are kept in secrets, by pair."""
        return {pair: reference for pair in self._pairs() if (reference := getattr(self, pair)) is not None}

    @property
    def plaintexts(self) -> dict[str, SecretStr]:
        """The credentials that were given as text, by pair."""
        texts = ((pair, getattr(self, pair + _PLAINTEXT)) for pair in self._pairs())
        return {pair: text for pair, text in texts if text is not None}

    @classmethod
    def shown(cls, options: Mapping[str, str], references: Mapping[str, str]) -> ProviderConfigOutput:
        """The object that answers show, from what `options` and `references` are."""
        return {**options, **references}

    @classmethod
    def _pairs(cls) -> Iterator[str]:
        return (field.removesuffix(_PLAINTEXT) for field in cls.model_fields if field.endswith(_PLAINTEXT))

    @classmethod
    def _is_secret(cls, field: str) -> bool:
        return field.removesuffix(_PLAINTEXT) in cls._pairs()


ProviderConfigOutput = dict[str, str | dict[str, str]]
"""A provider's configuration as answers show it: without the credentials that were given as text."""

_API_KEY_HEADER = "api_key_header"
_API_KEY_VALUE = "api_key_value"
_BEARER_TOKEN = "bearer_token"


class Ai21LabsConfig(ProviderConfig):
    required = ("ai21labs_api_key",)
    ai21labs_api_base: BaseUrl | None = None
    ai21labs_api_key: SecretReference | None = None
    ai21labs_api_key_plaintext: Plaintext | None = None


class AnthropicConfig(ProviderConfig):
    required = ("anthropic_api_key",)
    anthropic_api_base: BaseUrl | None = None
    anthropic_api_key: SecretReference | None = None
    anthropic_api_key_plaintext: Plaintext | None = None


class CohereConfig(ProviderConfig):
    required = ("cohere_api_key",)
    cohere_api_base: BaseUrl | None = None
    cohere_api_key: SecretReference | None = None
    cohere_api_key_plaintext: Plaintext | None = None


class PalmConfig(ProviderConfig):
    required = ("palm_api_key",)
    palm_api_base: BaseUrl | None = None
    palm_api_key: SecretReference | None = None
    palm_api_key_plaintext: Plaintext | None = None


class DatabricksModelServingConfig(ProviderConfig):
    required = ("databricks_api_token",)
    databricks_workspace_url: BaseUrl
    databricks_api_token: SecretReference | None = None
    databricks_api_token_plaintext: Plaintext | None = None


class GoogleCloudVertexAiConfig(ProviderConfig):
    required = ("private_key",)
    project_id: ShortText
    region: Region
    vertex_api_base: BaseUrl | None = None
    private_key: SecretReference | None = None
    private_key_plaintext: Plaintext | None = None


class AmazonBedrockConfig(ProviderConfig):
    aws_region: Region
    bedrock_provider: Annotated[BedrockProvider, BeforeValidator(_lower)]
    bedrock_api_base: BaseUrl | None = None
    aws_access_key_id: SecretReference | None = None
    aws_access_key_id_plaintext: Plaintext | None = None
    aws_secret_access_key: SecretReference | None = None
    aws_secret_access_key_plaintext: Plaintext | None = None
    instance_profile_arn: Text | None = None
    uc_service_credential_name: Text | None = None

    @model_validator(mode="after")
    def _some_credential(self) -> AmazonBedrockConfig:
        keys = [pair for pair in ("aws_access_key_id", "aws_secret_access_key") if self.has(pair)]
        if len(keys) == 1:
            raise missing_field("aws_secret_access_key" if keys == ["aws_access_key_id"] else "aws_access_key_id")
        if not keys and self.instance_profile_arn is None and self.uc_service_credential_name is None:
            raise ValueError(
                "give 'aws_access_key_id' and 'aws_secret_access_key', or 'instance_profile_arn', "
                "or 'uc_service_credential_name'"
            )
        return self


class OpenAIConfig(ProviderConfig):
    openai_api_type: Annotated[OpenAIApiType, BeforeValidator(_lower)] = OpenAIApiType.OPENAI
    openai_api_key: SecretReference | None = None
    openai_api_key_plaintext: Plaintext | None = None
    openai_api_base: BaseUrl | None = None
    openai_api_version: Text | None = None
    openai_deployment_name: Text | None = None
    openai_organization: Text | None = None
    microsoft_entra_client_id: Text | None = None
    microsoft_entra_tenant_id: Text | None = None
    microsoft_entra_authority: BaseUrl | None = None
    microsoft_entra_client_secret: SecretReference | None = None
    microsoft_entra_client_secret_plaintext: Plaintext | None = None

    @model_validator(mode="after")
    def _what_the_type_needs(self) -> OpenAIConfig:
        needed: tuple[str, ...] = ()
        if self.openai_api_type is not OpenAIApiType.OPENAI:
            needed = ("openai_api_base", "openai_api_version", "openai_deployment_name")
        if self.openai_api_type is OpenAIApiType.AZURE_AD:
            needed += ("microsoft_entra_client_id", "microsoft_entra_tenant_id")
        for field in needed:
            if getattr(self, field) is None:
                raise missing_field(field)
        azure_ad = self.openai_api_type is OpenAIApiType.AZURE_AD
        pair = "microsoft_entra_client_secret" if azure_ad else "openai_api_key"
        if not self.has(pair):
            raise missing_field(pair)
        return self


class ApiKeyAuth(ProviderConfig):
    required = ("value",)
    key: Annotated[ShortText, AfterValidator(_header_name)]
    value: SecretReference | None = None
    value_plaintext: Plaintext | None = None


class BearerTokenAuth(ProviderConfig):
    required = ("token",)
    token: SecretReference | None = None
    token_plaintext: Plaintext | None = None


class CustomProviderConfig(ProviderConfig):
    """Its credential is in an object of its own; `options`, `references` and `plaintexts` name it as others' are."""

    custom_provider_url: BaseUrl
    api_key_auth: ApiKeyAuth | None = None
    bearer_token_auth: BearerTokenAuth | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> CustomProviderConfig:
        if (self.api_key_auth is None) == (self.bearer_token_auth is None):
            raise ValueError("give exactly one of 'api_key_auth' and 'bearer_token_auth'")
        return self

    @property
    def options(self) -> dict[str, str]:
        options = {"custom_provider_url": self.custom_provider_url}
        if self.api_key_auth is not None:
            options[_API_KEY_HEADER] = self.api_key_auth.key
        return options

    @property
    def references(self) -> dict[str, str]:
        name, credential = self._credential
        return dict(zip([name], credential.references.values(), strict=False))

    @property
    def plaintexts(self) -> dict[str, SecretStr]:
        name, credential = self._credential
        return dict(zip([name], credential.plaintexts.values(), strict=False))

    @property
    def _credential(self) -> tuple[str, ProviderConfig]:
        if self.api_key_auth is not None:
            return _API_KEY_VALUE, self.api_key_auth
        assert self.bearer_token_auth is not None
        return _BEARER_TOKEN, self.bearer_token_auth

    @classmethod
    def shown(cls, options: Mapping[str, str], references: Mapping[str, str]) -> ProviderConfigOutput:
        url = {"custom_provider_url": options["custom_provider_url"]}
        if _API_KEY_HEADER in options:
            value = {"value": references[_API_KEY_VALUE]} if _API_KEY_VALUE in references else {}
            return {**url, "api_key_auth": {"key": options[_API_KEY_HEADER], **value}}
        return {**url, "bearer_token_auth": {"token": references[_BEARER_TOKEN]} if references else {}}


CONFIG_FIELDS: dict[Provider, str] = {
    Provider.AI21LABS: "ai21labs_config",
    Provider.ANTHROPIC: "anthropic_config",
    Provider.AMAZON_BEDROCK: "amazon_bedrock_config",
    Provider.COHERE: "cohere_config",
    Provider.CUSTOM: "custom_provider_config",
    Provider.DATABRICKS_MODEL_SERVING: "databricks_model_serving_config",
    Provider.GOOGLE_CLOUD_VERTEX_AI: "google_cloud_vertex_ai_config",
    Provider.OPENAI: "openai_config",
    Provider.PALM: "palm_config",
}


_CONFIG_TYPES: dict[Provider, type[ProviderConfig]] = {
    Provider.AI21LABS: Ai21LabsConfig,
    Provider.ANTHROPIC: AnthropicConfig,
    Provider.AMAZON_BEDROCK: AmazonBedrockConfig,
    Provider.COHERE: CohereConfig,
    Provider.CUSTOM: CustomProviderConfig,
    Provider.DATABRICKS_MODEL_SERVING: DatabricksModelServingConfig,
    Provider.GOOGLE_CLOUD_VERTEX_AI: GoogleCloudVertexAiConfig,
    Provider.OPENAI: OpenAIConfig,
    Provider.PALM: PalmConfig,
}


class ExternalModelInput(WireInput):
    """A provider's model, with exactly the configuration object that belongs to the provider."""

    name: ShortText
    provider: Provider
    task: ExternalTask
    ai21labs_config: Ai21LabsConfig | None = None
    amazon_bedrock_config: AmazonBedrockConfig | None = None
    anthropic_config: AnthropicConfig | None = None
    cohere_config: CohereConfig | None = None
    custom_provider_config: CustomProviderConfig | None = None
    databricks_model_serving_config: DatabricksModelServingConfig | None = None
    google_cloud_vertex_ai_config: GoogleCloudVertexAiConfig | None = None
    openai_config: OpenAIConfig | None = None
    palm_config: PalmConfig | None = None

    @model_validator(mode="after")
    def _config_of_the_provider(self) -> ExternalModelInput:
        own = CONFIG_FIELDS[self.provider]
        for field in CONFIG_FIELDS.values():
            if field != own and getattr(self, field) is not None:
                raise ValueError(f"provider '{self.provider}' takes '{own}', not '{field}'")
        if getattr(self, own) is None:
            raise missing_field(own)
        return self

    @property
    def config(self) -> ProviderConfig:
        """The provider's configuration."""
        config: ProviderConfig = getattr(self, CONFIG_FIELDS[self.provider])
        return config


class ExternalModelOutput(WireOutput):
    """An external model as answers show it."""

    name: str
    provider: Provider
    task: ExternalTask
    ai21labs_config: ProviderConfigOutput | None = None
    amazon_bedrock_config: ProviderConfigOutput | None = None
    anthropic_config: ProviderConfigOutput | None = None
    cohere_config: ProviderConfigOutput | None = None
    custom_provider_config: ProviderConfigOutput | None = None
    databricks_model_serving_config: ProviderConfigOutput | None = None
    google_cloud_vertex_ai_config: ProviderConfigOutput | None = None
    openai_config: ProviderConfigOutput | None = None
    palm_config: ProviderConfigOutput | None = None

    @classmethod
    def of(
        cls,
        name: str,
        provider: Provider,
        task: ExternalTask,
        options: Mapping[str, str],
        references: Mapping[str, str],
    ) -> ExternalModelOutput:
        config = _CONFIG_TYPES[provider].shown(options, references)
        return cls(name=name, provider=provider, task=task, **{CONFIG_FIELDS[provider]: config})
