"""External models: a provider's model behind an endpoint, and the credentials that each provider takes.

A credential is a pair of fields: `X` holds a reference to a stored secret, `X_plaintext` the text itself.
Source: Databricks REST reference, serving endpoints, create (`external_model`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from moorage.api.wire import ShortText, Text, WireInput, missing_field

SECRET_REFERENCE = re.compile(r"\{\{secrets/(?P<scope>[^/{}\s]+)/(?P<key>[^/{}\s]+)\}\}")


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


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


SecretReference = Annotated[Text, AfterValidator(_reference)]


class _Credentials(WireInput):
    """Base of what holds credential pairs. `required` names the pairs that must be there."""

    required: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _one_of_each_pair(self) -> _Credentials:
        for field in type(self).model_fields:
            if not field.endswith("_plaintext"):
                continue
            pair = field.removesuffix("_plaintext")
            if getattr(self, pair) is not None and getattr(self, field) is not None:
                raise ValueError(f"give either '{pair}' or '{field}', not both")
        for pair in self.required:
            if not self.has(pair):
                raise missing_field(pair)
        return self

    def has(self, pair: str) -> bool:
        """Whether one member of the pair was given."""
        return getattr(self, pair) is not None or getattr(self, f"{pair}_plaintext") is not None


class Ai21LabsConfig(_Credentials):
    required = ("ai21labs_api_key",)
    ai21labs_api_key: SecretReference | None = None
    ai21labs_api_key_plaintext: SecretStr | None = None


class AnthropicConfig(_Credentials):
    required = ("anthropic_api_key",)
    anthropic_api_key: SecretReference | None = None
    anthropic_api_key_plaintext: SecretStr | None = None


class CohereConfig(_Credentials):
    required = ("cohere_api_key",)
    cohere_api_base: Text | None = None
    cohere_api_key: SecretReference | None = None
    cohere_api_key_plaintext: SecretStr | None = None


class PalmConfig(_Credentials):
    required = ("palm_api_key",)
    palm_api_key: SecretReference | None = None
    palm_api_key_plaintext: SecretStr | None = None


class DatabricksModelServingConfig(_Credentials):
    required = ("databricks_api_token",)
    databricks_workspace_url: ShortText
    databricks_api_token: SecretReference | None = None
    databricks_api_token_plaintext: SecretStr | None = None


class GoogleCloudVertexAiConfig(_Credentials):
    required = ("private_key",)
    project_id: ShortText
    region: ShortText
    private_key: SecretReference | None = None
    private_key_plaintext: SecretStr | None = None


class AmazonBedrockConfig(_Credentials):
    aws_region: ShortText
    bedrock_provider: Annotated[BedrockProvider, BeforeValidator(_lower)]
    aws_access_key_id: SecretReference | None = None
    aws_access_key_id_plaintext: SecretStr | None = None
    aws_secret_access_key: SecretReference | None = None
    aws_secret_access_key_plaintext: SecretStr | None = None
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


class OpenAIConfig(_Credentials):
    openai_api_type: Annotated[OpenAIApiType, BeforeValidator(_lower)] = OpenAIApiType.OPENAI
    openai_api_key: SecretReference | None = None
    openai_api_key_plaintext: SecretStr | None = None
    openai_api_base: Text | None = None
    openai_api_version: Text | None = None
    openai_deployment_name: Text | None = None
    openai_organization: Text | None = None
    microsoft_entra_client_id: Text | None = None
    microsoft_entra_tenant_id: Text | None = None
    microsoft_entra_client_secret: SecretReference | None = None
    microsoft_entra_client_secret_plaintext: SecretStr | None = None

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


class ApiKeyAuth(_Credentials):
    required = ("value",)
    key: ShortText
    value: SecretReference | None = None
    value_plaintext: SecretStr | None = None


class BearerTokenAuth(_Credentials):
    required = ("token",)
    token: SecretReference | None = None
    token_plaintext: SecretStr | None = None


class CustomProviderConfig(WireInput):
    custom_provider_url: ShortText
    api_key_auth: ApiKeyAuth | None = None
    bearer_token_auth: BearerTokenAuth | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> CustomProviderConfig:
        if (self.api_key_auth is None) == (self.bearer_token_auth is None):
            raise ValueError("give exactly one of 'api_key_auth' and 'bearer_token_auth'")
        return self


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
