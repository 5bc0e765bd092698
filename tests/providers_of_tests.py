"""A model of each provider, as routes have it, all answered by the fake provider."""

from __future__ import annotations

from typing import NamedTuple

from fake_provider.control import KEYS

from moorage.api.external_models import Provider


class Way(NamedTuple):
    """How the fake provider is reached in one dialect; `base` in the options stands for its URL."""

    provider: Provider
    model: str
    options: dict[str, str]
    credentials: dict[str, str]

    def at(self, base: str) -> dict[str, str]:
        return {name: value.replace("{base}", base) for name, value in self.options.items()}


WAYS = {
    "openai": Way(
        Provider.OPENAI, "gpt-4o", {"openai_api_base": "{base}/v1"}, {"openai_api_key": KEYS["openai"]}
    ),
    "azure": Way(
        Provider.OPENAI,
        "gpt-4o",
        {
            "openai_api_base": "{base}",
            "openai_api_type": "azure",
            "openai_api_version": "2024-10-21",
            "openai_deployment_name": "mine",
        },
        {"openai_api_key": KEYS["azure"]},
    ),
    "azuread": Way(
        Provider.OPENAI,
        "gpt-4o",
        {
            "openai_api_base": "{base}",
            "openai_api_type": "azuread",
            "openai_api_version": "2024-10-21",
            "openai_deployment_name": "mine",
            "microsoft_entra_authority": "{base}",
            "microsoft_entra_tenant_id": KEYS["entra_tenant"],
            "microsoft_entra_client_id": KEYS["entra_client_id"],
        },
        {"microsoft_entra_client_secret": KEYS["entra_client_secret"]},
    ),
    "anthropic": Way(
        Provider.ANTHROPIC,
        "claude-sonnet-4-5",
        {"anthropic_api_base": "{base}"},
        {"anthropic_api_key": KEYS["anthropic"]},
    ),
    "cohere": Way(
        Provider.COHERE, "command-a", {"cohere_api_base": "{base}"}, {"cohere_api_key": KEYS["cohere"]}
    ),
    "bedrock": Way(
        Provider.AMAZON_BEDROCK,
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        {"bedrock_api_base": "{base}", "aws_region": KEYS["bedrock_region"], "bedrock_provider": "anthropic"},
        {
            "aws_access_key_id": KEYS["bedrock_access_key_id"],
            "aws_secret_access_key": KEYS["bedrock_secret_access_key"],
        },
    ),
    "palm": Way(Provider.PALM, "gemini-2.5-pro", {"palm_api_base": "{base}"}, {"palm_api_key": KEYS["gemini"]}),
    "ai21labs": Way(
        Provider.AI21LABS,
        "jamba-large",
        {"ai21labs_api_base": "{base}/studio/v1"},
        {"ai21labs_api_key": KEYS["ai21"]},
    ),
    "databricks": Way(
        Provider.DATABRICKS_MODEL_SERVING,
        "elsewhere",
        {"databricks_workspace_url": "{base}"},
        {"databricks_api_token": KEYS["databricks"]},
    ),
    "custom": Way(
        Provider.CUSTOM,
        "any",
        {"custom_provider_url": "{base}/custom/chat/completions"},
        {"bearer_token": KEYS["custom"]},
    ),
}
