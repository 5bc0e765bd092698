import { Anchor, Modal, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { CodeTabs } from "../../components/Copy";

interface Props {
  name: string;
  opened: boolean;
  close: () => void;
}

/** How a monitoring system gets the endpoint's metrics, and the metrics of this moment as a file. */
export function ExportMetricsModal({ name, opened, close }: Props) {
  const { t } = useTranslation(["endpoint", "common"]);
  const { origin, host, protocol } = window.location;
  const path = `/api/2.0/serving-endpoints/${encodeURIComponent(name)}/metrics`;
  const curl = `curl -H "Authorization: Bearer $DATABRICKS_TOKEN" \\\n  ${origin}${path}`;
  const scrape = [
    "scrape_configs:",
    `  - job_name: ${name}`,
    "    scrape_interval: 1m",
    `    scheme: ${protocol.replace(":", "")}`,
    `    metrics_path: ${path}`,
    "    authorization: {credentials: DATABRICKS_TOKEN}",
    `    static_configs: [{targets: ["${host}"]}]`,
  ].join("\n");
  return (
    <Modal opened={opened} onClose={close} title={t("export.title")} size="lg" closeButtonProps={{ "aria-label": t("common:close") }}>
      <Stack gap="sm">
        <Text size="sm">{t("export.text")}</Text>
        <CodeTabs
          items={[
            { label: t("export.url"), code: origin + path },
            { label: "curl", code: curl },
            { label: "Prometheus", code: scrape },
          ]}
        />
        <Anchor href={path} download={`${name}-metrics.txt`} size="sm">
          {t("export.download")}
        </Anchor>
      </Stack>
    </Modal>
  );
}
