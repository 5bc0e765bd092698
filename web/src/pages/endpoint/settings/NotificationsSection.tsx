import { TagsInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import { refreshEndpoint } from "../../../api/queries";
import type { EndpointDetail } from "../../../api/schema";
import { notifyDone } from "../../../components/confirm";
import { SettingsSection } from "./SettingsSection";
import { useDraft } from "./useDraft";
import { useSave } from "./useSave";

const FIELDS = ["on_update_failure", "on_update_success"] as const;

/** Who hears of the end of updates by mail. */
export function NotificationsSection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const { name, email_notifications: saved } = endpoint;
  const draft = useDraft({ on_update_failure: saved?.on_update_failure ?? [], on_update_success: saved?.on_update_success ?? [] });
  const save = useSave();

  async function submit() {
    const body = { email_notifications: draft.value };
    await unwrap(client.PATCH("/api/2.0/serving-endpoints/{name}/notifications", { params: { path: { name } }, body }));
    await refreshEndpoint(name);
    draft.reset();
    notifyDone(t("common:saved"));
  }

  const paths = FIELDS.map((field) => `email_notifications.${field}`);
  return (
    <SettingsSection
      title={t("notifications.title")}
      description={t("notifications.description")}
      draft={draft}
      save={save}
      problem={save.rest(paths)}
      submit={submit}
    >
      {FIELDS.map((field) => (
        <TagsInput
          key={field}
          label={t(`notifications.${field}`)}
          placeholder={draft.value[field].length === 0 ? t("notifications.address") : undefined}
          value={draft.value[field]}
          onChange={(value) => draft.set({ ...draft.value, [field]: value })}
          splitChars={[",", ";", " "]}
          error={save.at(`email_notifications.${field}`)}
          maw={620}
        />
      ))}
    </SettingsSection>
  );
}
