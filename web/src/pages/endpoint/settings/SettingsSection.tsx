import { Alert, Button, Group, Stack, Text, Title } from "@mantine/core";
import { type ReactNode, useId, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Draft } from "./useDraft";
import type { Save } from "./useSave";

interface Props<T> {
  title: string;
  description?: ReactNode;
  children: ReactNode;
  draft: Draft<T>;
  save: Save;
  /** What the API said and no field shows. */
  problem?: string;
  submit: () => Promise<unknown>;
  /** Left of the buttons. */
  aside?: ReactNode;
}

/** A part of the settings that is saved by itself. */
export function SettingsSection<T>({ title, description, children, draft, save, problem, submit, aside }: Props<T>) {
  const { t } = useTranslation("common");
  const id = useId();
  // What is typed into a list of words is a word of it only when the field is left: on the way to the button.
  const [typed, setTyped] = useState(false);
  return (
    <Stack component="section" aria-labelledby={id} gap="xs">
      <Title order={2} id={id}>
        {title}
      </Title>
      {description && (
        <Text size="sm" c="dimmed" component="div">
          {description}
        </Text>
      )}
      <form
        noValidate
        onInput={() => setTyped(true)}
        onSubmit={(event) => {
          event.preventDefault();
          setTyped(false);
          if (draft.dirty) void save.run(submit);
        }}
      >
        <Stack gap="sm">
          {children}
          {problem && (
            <Alert color="red" role="alert">
              {problem}
            </Alert>
          )}
          <Group gap="xs">
            <Button type="submit" loading={save.busy} disabled={!draft.dirty && !typed}>
              {t("save")}
            </Button>
            {draft.dirty && (
              <Button
                variant="default"
                onClick={() => {
                  draft.reset();
                  save.clear();
                }}
              >
                {t("cancel")}
              </Button>
            )}
            {aside}
          </Group>
        </Stack>
      </form>
    </Stack>
  );
}
