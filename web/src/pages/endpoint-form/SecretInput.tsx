import { ActionIcon, Button, Popover, Select, Stack, Text, TextInput, type TextInputProps } from "@mantine/core";
import { IconKey } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../api/client";
import { errorText } from "../../components/confirm";

const useScopes = () =>
  useQuery({ queryKey: ["secret-scopes"], queryFn: async () => (await unwrap(client.GET("/api/2.0/secrets/scopes/list"))).scopes });

const useKeys = (scope: string) =>
  useQuery({
    queryKey: ["secret-keys", scope],
    queryFn: async () => (await unwrap(client.GET("/api/2.0/secrets/list", { params: { query: { scope } } }))).secrets,
    enabled: !!scope,
  });

interface Props extends Omit<TextInputProps, "value" | "onChange"> {
  value: string;
  onChange: (value: string) => void;
  /** What the value is of, for the name of the button. */
  of: string;
}

/** Text that may be a reference to a secret: a button beside it lets one pick the scope and the key. */
export function SecretInput({ value, onChange, of, ...props }: Props) {
  const { t } = useTranslation(["form", "common"]);
  const [opened, setOpened] = useState(false);
  return (
    <TextInput
      {...props}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      autoComplete="off"
      spellCheck={false}
      rightSection={
        <Popover opened={opened} onChange={setOpened} position="bottom-end" width={300} trapFocus withinPortal shadow="md">
          <Popover.Target>
            <ActionIcon
              variant="subtle"
              color="gray"
              onClick={() => setOpened(!opened)}
              title={t("secret.pick")}
              aria-label={t("secret.pickFor", { name: of })}
            >
              <IconKey size={16} />
            </ActionIcon>
          </Popover.Target>
          <Popover.Dropdown>
            <SecretPicker
              pick={(reference) => {
                onChange(reference);
                setOpened(false);
              }}
            />
          </Popover.Dropdown>
        </Popover>
      }
    />
  );
}

function SecretPicker({ pick }: { pick: (reference: string) => void }) {
  const { t } = useTranslation(["form", "common"]);
  const [scope, setScope] = useState("");
  const [key, setKey] = useState("");
  const scopes = useScopes();
  const keys = useKeys(scope);
  const problem = scopes.error ?? keys.error;
  return (
    <Stack gap="xs">
      <Select
        label={t("secret.scope")}
        data={(scopes.data ?? []).map((one) => one.name)}
        value={scope || null}
        onChange={(chosen) => {
          setScope(chosen ?? "");
          setKey("");
        }}
        placeholder={scopes.data?.length === 0 ? t("secret.noScopes") : undefined}
        comboboxProps={{ withinPortal: false }}
        searchable
        data-autofocus
      />
      <Select
        label={t("secret.key")}
        data={(keys.data ?? []).map((one) => one.key)}
        value={key || null}
        onChange={(chosen) => setKey(chosen ?? "")}
        placeholder={keys.data?.length === 0 ? t("secret.noKeys") : undefined}
        disabled={!scope}
        comboboxProps={{ withinPortal: false }}
        searchable
      />
      {problem && (
        <Text size="xs" c="var(--mantine-color-error)" role="alert">
          {errorText(problem)}
        </Text>
      )}
      <Button size="xs" disabled={!scope || !key} onClick={() => pick(`{{secrets/${scope}/${key}}}`)}>
        {t("secret.use")}
      </Button>
    </Stack>
  );
}
