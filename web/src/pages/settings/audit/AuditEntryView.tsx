import { Stack, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { AuditEntry } from "../../../api/schema";
import { CodeBlock, CopyableText } from "../../../components/Copy";
import { Time } from "../../../components/Time";
import { Facts } from "../parts/Facts";

/** Everything that is known of a request. */
export function AuditEntryView({ entry }: { entry: AuditEntry }) {
  const { t } = useTranslation("settings");
  return (
    <Stack gap="sm">
      <Facts
        label={entry.action}
        rows={[
          { name: t("audit.time"), value: <Time at={entry.timestamp} /> },
          { name: t("audit.user_name"), value: entry.user_name || "–" },
          { name: t("audit.userId"), value: entry.user_id || "–" },
          { name: t("audit.object_type"), value: entry.object_type || "–" },
          { name: t("audit.object_id"), value: entry.object_id || "–" },
          { name: t("status"), value: entry.status },
          { name: t("audit.address"), value: entry.source_address || "–" },
          {
            name: t("audit.requestId"),
            value: <CopyableText value={entry.request_id} label={t("copyNamed", { name: t("audit.requestId") })} />,
          },
        ]}
      />
      <Title order={3}>{t("audit.parameters")}</Title>
      <CodeBlock code={JSON.stringify(entry.details, null, 2)} label={t("audit.parameters")} maxHeight={320} />
    </Stack>
  );
}
