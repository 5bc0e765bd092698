import { ActionIcon, Button, Group, Stack, TextInput } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import { refreshEndpoint } from "../../../api/queries";
import type { EndpointDetail } from "../../../api/schema";
import { notifyDone } from "../../../components/confirm";
import { SettingsSection } from "./SettingsSection";
import { useDraft } from "./useDraft";
import { useSave } from "./useSave";

/** Keys and values by which endpoints are found and told apart. */
export function TagsSection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const draft = useDraft(endpoint.tags);
  const save = useSave();
  const tags = draft.value;
  const { name } = endpoint;
  const isNew = (tag: { key: string; value: string }) => !draft.before.some(({ key, value }) => key === tag.key && value === tag.value);
  const added = tags.filter(isNew);

  function set(index: number, change: { key?: string; value?: string }) {
    draft.set(tags.map((tag, at) => (at === index ? { ...tag, ...change } : tag)));
  }

  async function submit() {
    const deleted = draft.before.filter(({ key }) => !tags.some((tag) => tag.key === key)).map(({ key }) => key);
    const body = { add_tags: added, delete_tags: deleted };
    await unwrap(client.PATCH("/api/2.0/serving-endpoints/{name}/tags", { params: { path: { name } }, body }));
    await refreshEndpoint(name);
    draft.reset();
    notifyDone(t("common:saved"));
  }

  const twice = tags.some(({ key }, index) => tags.findIndex((tag) => tag.key === key) !== index);
  return (
    <SettingsSection
      title={t("details.tags")}
      description={t("tags.description")}
      draft={draft}
      save={save}
      problem={twice ? t("tags.twice") : save.rest(["add_tags["])}
      submit={() => (twice ? Promise.resolve() : submit())}
    >
      <Stack gap={6}>
        {tags.map((tag, index) => {
          const sent = added.indexOf(tag);
          const at = (field: string) => (sent < 0 ? undefined : save.at(`add_tags[${sent}].${field}`));
          return (
            // Rows have no names of their own: keys are typed.
            <Group key={index} gap="xs" wrap="nowrap" align="flex-start">
              <TextInput
                aria-label={t("tags.keyOf", { number: index + 1 })}
                placeholder={t("tags.key")}
                value={tag.key}
                onChange={(event) => set(index, { key: event.currentTarget.value })}
                error={at("key")}
                style={{ flex: 1, maxWidth: 260 }}
              />
              <TextInput
                aria-label={t("tags.valueOf", { number: index + 1 })}
                placeholder={t("tags.value")}
                value={tag.value}
                onChange={(event) => set(index, { value: event.currentTarget.value })}
                error={at("value")}
                style={{ flex: 1, maxWidth: 420 }}
              />
              <ActionIcon
                variant="subtle"
                color="gray"
                size={34}
                aria-label={t("tags.removeOf", { number: index + 1 })}
                onClick={() => draft.set(tags.filter((_, other) => other !== index))}
              >
                <IconTrash size={16} />
              </ActionIcon>
            </Group>
          );
        })}
        <Button
          variant="subtle"
          leftSection={<IconPlus size={15} />}
          style={{ alignSelf: "flex-start" }}
          onClick={() => draft.set([...tags, { key: "", value: "" }])}
        >
          {t("tags.add")}
        </Button>
      </Stack>
    </SettingsSection>
  );
}
