import { Select, SimpleGrid, Stack, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { CredentialInput } from "./CredentialInput";
import { askedFields, isVirtual, type ProviderField, PROVIDER_NAMES, PROVIDERS } from "./providers";
import { type Credential, type ExternalValues, TASKS } from "./values";

interface Props {
  external: ExternalValues;
  change: (external: ExternalValues) => void;
  /** By the name of the field; `model` is the provider's model. */
  errors: Record<string, string>;
}

const NO_CREDENTIAL: Credential = { source: "secret", value: "" };

/** What is missing of what the provider needs, by field. */
export function missingFields(external: ExternalValues): string[] {
  const missing = askedFields(external).filter((field) => {
    if (!field.required || field.kind === "choice") return false;
    if (field.kind === "text") return !external.options[field.name]?.trim();
    const credential = external.credentials[field.name] ?? NO_CREDENTIAL;
    return credential.source !== "kept" && !credential.value.trim();
  });
  return [...(external.model.trim() ? [] : ["model"]), ...missing.map((field) => field.name)];
}

export function ExternalPicker({ external, change, errors }: Props) {
  const { t } = useTranslation("form");
  const option = (name: string, value: string) => change({ ...external, options: { ...external.options, [name]: value } });
  return (
    <Stack gap="sm">
      <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm">
        <Select
          label={t("external.provider")}
          data={PROVIDER_NAMES.map((name) => ({ value: name, label: t(`providers.${name}`) }))}
          value={external.provider}
          onChange={(chosen) => {
            const provider = PROVIDER_NAMES.find((name) => name === chosen);
            if (provider) change({ ...external, provider, options: {}, credentials: {} });
          }}
          allowDeselect={false}
          maxDropdownHeight={360}
          data-autofocus
        />
        <Select
          label={t("external.task")}
          data={TASKS.map((task) => ({ value: task, label: t(`tasks.${task}`) }))}
          value={external.task}
          onChange={(chosen) => change({ ...external, task: TASKS.find((task) => task === chosen) ?? external.task })}
          allowDeselect={false}
        />
      </SimpleGrid>
      <TextInput
        label={t("external.model")}
        description={t("external.modelHint")}
        placeholder={PROVIDERS[external.provider].model}
        value={external.model}
        onChange={(event) => change({ ...external, model: event.currentTarget.value })}
        error={errors.model ?? errors.name}
        required
        autoComplete="off"
      />
      {askedFields(external).map((field) => (
        <Field
          key={field.name}
          field={field}
          value={external.options[field.name] ?? ""}
          credential={external.credentials[field.name] ?? NO_CREDENTIAL}
          changeOption={(value) => option(field.name, value)}
          changeCredential={(credential) => change({ ...external, credentials: { ...external.credentials, [field.name]: credential } })}
          error={errors[field.name]}
        />
      ))}
    </Stack>
  );
}

interface FieldProps {
  field: ProviderField;
  value: string;
  credential: Credential;
  changeOption: (value: string) => void;
  changeCredential: (credential: Credential) => void;
  error?: string;
}

function Field({ field, value, credential, changeOption, changeCredential, error }: FieldProps) {
  const { t } = useTranslation("form");
  const label = t(`fields.${field.name.replace(".", "_")}`);
  if (field.kind === "credential") return <CredentialInput label={label} value={credential} onChange={changeCredential} error={error} />;
  if (field.kind === "choice") {
    // What the API calls by name is shown by its name.
    const data = field.choices.map((choice) => ({ value: choice, label: isVirtual(field.name) ? t(`choices.${choice}`) : choice }));
    return (
      <Select
        label={label}
        data={data}
        value={value || field.choices[0]!}
        onChange={(chosen) => changeOption(chosen ?? "")}
        allowDeselect={false}
        error={error}
      />
    );
  }
  return (
    <TextInput
      label={label}
      placeholder={field.example}
      value={value}
      onChange={(event) => changeOption(event.currentTarget.value)}
      required={field.required}
      error={error}
      autoComplete="off"
      spellCheck={false}
    />
  );
}
