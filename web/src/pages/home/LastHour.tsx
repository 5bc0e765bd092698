import { Group, Skeleton, Stack, Table, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { EndpointSummary } from "../../api/schema";
import { ErrorPanel } from "../../components/ErrorPanel";
import { MOST_ENDPOINTS, type Traffic, useLastHour } from "./lastHour";
import { NameCell, Section, TableFrame } from "./Section";

const SHOWN = 8;

function Figure({ label, value, bad }: { label: string; value: string; bad?: boolean }) {
  return (
    <Stack gap={0}>
      <Text fz="xl" fw={600} lh={1.3} c={bad ? "var(--mantine-color-error)" : undefined}>
        {value}
      </Text>
      <Text size="sm" c="dimmed">
        {label}
      </Text>
    </Stack>
  );
}

/** Requests and errors of the last hour, in all and of the endpoints with the most. `recent` has the newest changes first. */
export function LastHour({ recent }: { recent: EndpointSummary[] }) {
  const { t, i18n } = useTranslation(["home", "common"]);
  const { data, error, refetch } = useLastHour(recent);
  const number = new Intl.NumberFormat(i18n.language);
  const percent = new Intl.NumberFormat(i18n.language, { style: "percent", maximumFractionDigits: 1 });
  const errorRate = ({ requests, clientErrors, serverErrors }: Traffic) => (requests ? percent.format((clientErrors + serverErrors) / requests) : "–");
  const partly = recent.length > MOST_ENDPOINTS && (
    <Text size="sm" c="dimmed">
      {t("lastHour.partly", { count: MOST_ENDPOINTS })}
    </Text>
  );
  if (error && !data) {
    return (
      <Section title={t("lastHour.title")}>
        <ErrorPanel error={error} retry={() => void refetch()} />
      </Section>
    );
  }
  if (!data) {
    return (
      <Section title={t("lastHour.title")} beside={partly}>
        <Skeleton height={40} mb="sm" />
        <Skeleton height={80} />
      </Section>
    );
  }
  const { total, endpoints } = data;
  const columns = [t("endpoint"), t("lastHour.requests"), "4xx", "5xx", t("lastHour.errorRate")];
  return (
    <Section title={t("lastHour.title")} beside={partly}>
      <Group gap="xl" mb={endpoints.length > 0 ? "xs" : 0}>
        <Figure label={t("lastHour.requests")} value={number.format(total.requests)} />
        <Figure label={t("lastHour.clientErrors")} value={number.format(total.clientErrors)} />
        <Figure label={t("lastHour.serverErrors")} value={number.format(total.serverErrors)} bad={total.serverErrors > 0} />
        <Figure label={t("lastHour.errorRate")} value={errorRate(total)} />
      </Group>
      {endpoints.length > 0 && (
        <TableFrame label={t("lastHour.busiest")} columns={columns} figures={[1, 2, 3, 4]}>
          {endpoints.slice(0, SHOWN).map((endpoint) => (
            <Table.Tr key={endpoint.name}>
              <NameCell name={endpoint.name} tab="/metrics" />
              <Table.Td ta="right">{number.format(endpoint.requests)}</Table.Td>
              <Table.Td ta="right">{number.format(endpoint.clientErrors)}</Table.Td>
              <Table.Td ta="right" c={endpoint.serverErrors > 0 ? "var(--mantine-color-error)" : undefined}>
                {number.format(endpoint.serverErrors)}
              </Table.Td>
              <Table.Td ta="right">{errorRate(endpoint)}</Table.Td>
            </Table.Tr>
          ))}
        </TableFrame>
      )}
    </Section>
  );
}
