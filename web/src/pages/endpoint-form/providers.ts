// The fields of each provider's configuration, as `schema.d.ts` has them (OpenAiConfig, AnthropicConfig, ...).
import type { ExternalModelInput, Provider } from "../../api/schema";
import { BEDROCK_PROVIDERS, type EntityValues, type ExternalValues } from "./values";

export type ConfigField = Exclude<keyof ExternalModelInput, "name" | "provider" | "task">;

interface FieldBase {
  name: string;
  required?: boolean;
  /** Whether the field is asked for, by the other options. */
  when?: (options: Record<string, string>) => boolean;
  /** It is not known to databricks-sdk: a server of one's own has it so that a provider can be reached through a proxy. */
  extension?: boolean;
  example?: string;
}

export type ProviderField =
  | (FieldBase & { kind: "text" | "credential" })
  | (FieldBase & { kind: "choice"; choices: readonly string[] });

interface ProviderForm {
  config: ConfigField;
  model: string;
  fields: ProviderField[];
}

/** The option of `custom` that says in which way its key is sent; no field of the API. */
export const CUSTOM_AUTH = "auth";
/** The option of Bedrock that says where its keys come from; no field of the API. */
export const BEDROCK_AUTH = "aws_auth";
const VIRTUAL = [CUSTOM_AUTH, BEDROCK_AUTH];

const base = (name: string, example: string, extension = true): ProviderField => ({ name, kind: "text", extension, example });
const key = (name: string): ProviderField => ({ name, kind: "credential", required: true });
const azure = (options: Record<string, string>) => choice(options, "openai_api_type", "openai") !== "openai";
const entra = (options: Record<string, string>) => options.openai_api_type === "azuread";

function choice(options: Record<string, string>, name: string, otherwise: string): string {
  return options[name] || otherwise;
}

export const PROVIDERS: Record<Provider, ProviderForm> = {
  openai: {
    config: "openai_config",
    model: "gpt-4o",
    fields: [
      { name: "openai_api_type", kind: "choice", choices: ["openai", "azure", "azuread"] },
      { ...key("openai_api_key"), when: (options) => !entra(options) },
      { name: "microsoft_entra_tenant_id", kind: "text", required: true, when: entra },
      { name: "microsoft_entra_client_id", kind: "text", required: true, when: entra },
      { ...key("microsoft_entra_client_secret"), when: entra },
      { ...base("microsoft_entra_authority", "https://login.microsoftonline.com"), when: entra },
      { name: "openai_api_base", kind: "text", example: "https://api.openai.com/v1", when: (options) => !azure(options) },
      { name: "openai_api_base", kind: "text", required: true, example: "https://NAME.openai.azure.com", when: azure },
      { name: "openai_deployment_name", kind: "text", required: true, when: azure },
      { name: "openai_api_version", kind: "text", required: true, example: "2024-10-21", when: azure },
      { name: "openai_organization", kind: "text", when: (options) => !azure(options) },
    ],
  },
  anthropic: {
    config: "anthropic_config",
    model: "claude-sonnet-4-5",
    fields: [key("anthropic_api_key"), base("anthropic_api_base", "https://api.anthropic.com")],
  },
  cohere: {
    config: "cohere_config",
    model: "command-a-03-2025",
    fields: [key("cohere_api_key"), base("cohere_api_base", "https://api.cohere.com", false)],
  },
  "amazon-bedrock": {
    config: "amazon_bedrock_config",
    model: "anthropic.claude-3-5-sonnet-20241022-v2:0",
    fields: [
      { name: "aws_region", kind: "text", required: true, example: "us-east-1" },
      { name: "bedrock_provider", kind: "choice", required: true, choices: BEDROCK_PROVIDERS },
      { name: BEDROCK_AUTH, kind: "choice", choices: ["access_keys", "instance_profile", "service_credential"] },
      { ...key("aws_access_key_id"), when: (options) => bedrockAuth(options) === "access_keys" },
      { ...key("aws_secret_access_key"), when: (options) => bedrockAuth(options) === "access_keys" },
      { name: "instance_profile_arn", kind: "text", required: true, when: (options) => bedrockAuth(options) === "instance_profile" },
      {
        name: "uc_service_credential_name",
        kind: "text",
        required: true,
        when: (options) => bedrockAuth(options) === "service_credential",
      },
      base("bedrock_api_base", "https://bedrock-runtime.us-east-1.amazonaws.com"),
    ],
  },
  "google-cloud-vertex-ai": {
    config: "google_cloud_vertex_ai_config",
    model: "gemini-2.5-pro",
    fields: [
      { name: "project_id", kind: "text", required: true },
      { name: "region", kind: "text", required: true, example: "us-central1" },
      key("private_key"),
      base("vertex_api_base", "https://us-central1-aiplatform.googleapis.com"),
    ],
  },
  ai21labs: {
    config: "ai21labs_config",
    model: "jamba-large",
    fields: [key("ai21labs_api_key"), base("ai21labs_api_base", "https://api.ai21.com/studio/v1")],
  },
  palm: {
    config: "palm_config",
    model: "gemini-2.5-pro",
    fields: [key("palm_api_key"), base("palm_api_base", "https://generativelanguage.googleapis.com")],
  },
  "databricks-model-serving": {
    config: "databricks_model_serving_config",
    model: "my-endpoint",
    fields: [
      { name: "databricks_workspace_url", kind: "text", required: true, example: "https://WORKSPACE.cloud.databricks.com" },
      key("databricks_api_token"),
    ],
  },
  custom: {
    config: "custom_provider_config",
    model: "my-model",
    fields: [
      { name: "custom_provider_url", kind: "text", required: true, example: "https://llm.example.com/v1/chat/completions" },
      { name: CUSTOM_AUTH, kind: "choice", choices: ["bearer_token_auth", "api_key_auth"] },
      { ...key("bearer_token_auth.token"), when: (options) => customAuth(options) === "bearer_token_auth" },
      {
        name: "api_key_auth.key",
        kind: "text",
        required: true,
        example: "x-api-key",
        when: (options) => customAuth(options) === "api_key_auth",
      },
      { ...key("api_key_auth.value"), when: (options) => customAuth(options) === "api_key_auth" },
    ],
  },
};

function customAuth(options: Record<string, string>): string {
  return choice(options, CUSTOM_AUTH, "bearer_token_auth");
}

function bedrockAuth(options: Record<string, string>): string {
  return choice(options, BEDROCK_AUTH, "access_keys");
}

export const PROVIDER_NAMES = Object.keys(PROVIDERS) as Provider[];

/** The fields that are asked for, by what has been chosen so far. */
export function askedFields(external: Pick<ExternalValues, "provider" | "options">): ProviderField[] {
  return PROVIDERS[external.provider].fields.filter((field) => field.when?.(external.options) ?? true);
}

/** Whether the server asks for this entity's keys again because it never shows those that it has. */
export function lacksCredential({ kind, external }: EntityValues): boolean {
  return kind === "external" && askedFields(external).some((field) => external.credentials[field.name]?.source === "kept");
}

export function isVirtual(name: string): boolean {
  return VIRTUAL.includes(name);
}

/** The names of fields that databricks-sdk leaves out of what it sends. */
export const EXTENSIONS: string[] = Object.values(PROVIDERS).flatMap((provider) =>
  provider.fields.filter((field) => field.extension).map((field) => field.name),
);
