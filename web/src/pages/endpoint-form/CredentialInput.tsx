import { Group, Input, PasswordInput, SegmentedControl, Stack } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { SecretInput } from "./SecretInput";
import type { Credential } from "./values";

interface Props {
  label: string;
  value: Credential;
  onChange: (value: Credential) => void;
  error?: string;
}

/** A provider's key: a reference to a secret, or its text, which the server keeps and never shows. */
export function CredentialInput({ label, value, onChange, error }: Props) {
  const { t } = useTranslation("form");
  const sources = [
    { value: "secret", label: t("credential.secret") },
    { value: "text", label: t("credential.text") },
  ];
  if (value.source === "kept") sources.unshift({ value: "kept", label: t("credential.kept") });
  return (
    <Stack gap={4}>
      <Group justify="space-between" gap="xs" wrap="wrap">
        <Input.Label required component="div">
          {label}
        </Input.Label>
        <SegmentedControl
          size="xs"
          data={sources}
          value={value.source}
          onChange={(source) => onChange({ source: source as Credential["source"], value: "" })}
          aria-label={t("credential.source", { name: label })}
        />
      </Group>
      {value.source === "secret" && (
        <SecretInput
          aria-label={label}
          of={label}
          value={value.value}
          onChange={(text) => onChange({ ...value, value: text })}
          placeholder="{{secrets/scope/key}}"
          error={error}
        />
      )}
      {value.source === "text" && (
        <PasswordInput
          aria-label={label}
          value={value.value}
          onChange={(event) => onChange({ ...value, value: event.currentTarget.value })}
          description={t("credential.textHint")}
          error={error}
          autoComplete="new-password"
          visibilityToggleButtonProps={{ "aria-label": t("credential.show") }}
        />
      )}
      {value.source === "kept" && (
        <>
          <Input.Description>{t("credential.keptHint")}</Input.Description>
          {error && <Input.Error>{error}</Input.Error>}
        </>
      )}
    </Stack>
  );
}
