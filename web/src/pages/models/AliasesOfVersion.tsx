import { ActionIcon, Badge, CloseButton, Group, Stack, TextInput, Tooltip } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelVersion } from "../../api/registry";
import { ConfirmModal, notifyDone } from "../../components/confirm";
import { deleteAlias, setAlias } from "./registered";

/** The aliases of a version, and how to set and delete them. */
export function AliasesOfVersion({ version, aliases }: { version: ModelVersion; aliases: string[] }) {
  const { t } = useTranslation(["models", "common"]);
  const [adding, setAdding] = useState(false);
  const [alias, setNew] = useState("");
  const [leaving, setLeaving] = useState<string | null>(null);
  const [asked, setAsked] = useState("");
  const number = version.version;

  async function add() {
    await setAlias(version.name, alias.trim(), number);
    notifyDone(t("alias.set", { alias: alias.trim(), version: number }));
    setNew("");
  }
  async function remove() {
    await deleteAlias(version.name, asked);
    notifyDone(t("alias.deleted", { alias: asked }));
  }

  return (
    <Group gap={4} wrap="nowrap">
      <Stack gap={4} align="flex-start" miw="max-content">
        {aliases.map((one) => (
          <Badge
            key={one}
            variant="default"
            tt="none"
            fw={500}
            radius="sm"
            maw={200}
            title={one}
            pr={2}
            rightSection={
              <CloseButton
                size={16}
                iconSize={12}
                aria-label={t("alias.delete", { alias: one })}
                onClick={() => {
                  setAsked(one);
                  setLeaving(one);
                }}
              />
            }
          >
            @{one}
          </Badge>
        ))}
      </Stack>
      <Tooltip label={t("alias.addTo", { version: number })}>
        <ActionIcon
          size="sm"
          variant="subtle"
          color="gray"
          aria-label={t("alias.addTo", { version: number })}
          onClick={() => setAdding(true)}
        >
          <IconPlus size={14} />
        </ActionIcon>
      </Tooltip>
      <ConfirmModal
        opened={adding}
        close={() => {
          setAdding(false);
          setNew("");
        }}
        title={t("alias.addTo", { version: number })}
        action={t("common:add")}
        destructive={false}
        run={add}
      >
        <TextInput
          label={t("alias.name")}
          description={t("alias.hint")}
          value={alias}
          onChange={(event) => setNew(event.currentTarget.value)}
          autoComplete="off"
          required
          data-autofocus
        />
      </ConfirmModal>
      <ConfirmModal
        opened={leaving !== null}
        close={() => setLeaving(null)}
        title={t("alias.delete", { alias: asked })}
        action={t("common:delete")}
        run={remove}
      >
        {t("alias.deleteText", { alias: asked, version: number })}
      </ConfirmModal>
    </Group>
  );
}
