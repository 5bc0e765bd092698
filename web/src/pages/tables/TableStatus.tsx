import { Alert, Group, Select, Stack, Text } from "@mantine/core";
import { IconAlertCircle, IconCircleCheckFilled, IconCircleXFilled } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { InferenceTable } from "../../api/schema";
import { CopyableText } from "../../components/Copy";
import { TimeAgo } from "../../components/Time";
import { useUrlValue } from "../../components/UrlSearch";

/** Which table it is, where it lies, and whether what is logged arrives in it. */
export function TableStatus({ tables, table }: { tables: InferenceTable[]; table: InferenceTable }) {
  const { t, i18n } = useTranslation("observe");
  const [, choose] = useUrlValue("table");
  const number = new Intl.NumberFormat(i18n.language);
  const failed = table.status === "FAILED";
  return (
    <Stack gap="xs" mb="md">
      <Group gap="xl" style={{ rowGap: "var(--mantine-spacing-xs)" }} align="flex-start">
        {tables.length > 1 ? (
          <Select
            label={t("table.name")}
            value={table.name}
            onChange={(value) => choose(value ?? "")}
            data={tables.map((one) => one.name)}
            allowDeselect={false}
            w={320}
          />
        ) : (
          <Fact label={t("table.name")}>
            <CopyableText value={table.name} label={t("table.copyName")} />
          </Fact>
        )}
        <Fact label={t("table.status")}>
          <Group gap={5} wrap="nowrap">
            {failed ? (
              <IconCircleXFilled size={15} color="var(--mantine-color-red-7)" aria-hidden />
            ) : (
              <IconCircleCheckFilled size={15} color="var(--mantine-color-green-7)" aria-hidden />
            )}
            {t(failed ? "table.failed" : "table.active")}
          </Group>
        </Fact>
        <Fact label={t("table.rows")}>{typeof table.rows === "number" ? number.format(table.rows) : "–"}</Fact>
        <Fact label={t("table.lastCommit")}>
          <TimeAgo at={table.last_commit_timestamp} />
        </Fact>
        <Fact label={t("table.location")}>
          <CopyableText value={table.location} label={t("table.copyLocation")} />
        </Fact>
      </Group>
      {table.status_message && (
        <Alert color={failed ? "red" : "gray"} icon={<IconAlertCircle size={18} />} role={failed ? "alert" : undefined}>
          {table.status_message}
        </Alert>
      )}
    </Stack>
  );
}

function Fact({ label, children }: { label: string; children: ReactNode }) {
  return (
    <Stack gap={2} maw="100%" miw={0}>
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      <Text size="sm" component="div" miw={0}>
        {children}
      </Text>
    </Stack>
  );
}
