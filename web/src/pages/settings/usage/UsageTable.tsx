import { Group, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { UsageGroup } from "../../../api/schema";
import { Cut } from "../../../components/Cut";
import { type Column, DataTable } from "../../../components/DataTable";
import { NameLink } from "../identity/PrincipalCells";
import type { UsageTotal } from "./usage";

interface Props {
  lines: UsageTotal[] | undefined;
  group: UsageGroup;
  /** Ids of the endpoints that there are: usage outlives its endpoint, and another may have got the name. */
  live: Set<string>;
}

export function UsageTable({ lines, group, live }: Props) {
  const { t, i18n } = useTranslation("settings");
  const number = new Intl.NumberFormat(i18n.language);
  const amount = (key: string, title: string, value: (line: UsageTotal) => number): Column<UsageTotal> => ({
    key,
    title,
    align: "right",
    sortBy: value,
    cell: (line) => number.format(value(line)),
  });
  const name: Column<UsageTotal> = {
    key: "name",
    title: t(`usage.groups.${group}`),
    sortBy: (line) => line.name,
    width: group === "served_entity" ? "24%" : "44%",
    minWidth: 140,
    cell: (line) => <Cut width="100%" text={line.name} />,
  };
  const endpoint: Column<UsageTotal> = {
    key: "endpoint",
    title: t("usage.endpoint"),
    sortBy: (line) => line.endpoint,
    width: group === "served_entity" ? "24%" : "44%",
    minWidth: 140,
    cell: (line) =>
      live.has(line.endpointId) ? (
        <NameLink name={line.endpoint} to={`/ml/endpoints/${encodeURIComponent(line.endpoint)}`} />
      ) : (
        <Group gap={6} wrap="nowrap">
          <Cut width="100%" text={line.endpoint} />
          <Text inherit c="dimmed" style={{ whiteSpace: "nowrap" }}>
            {t("usage.deleted")}
          </Text>
        </Group>
      ),
  };
  const named = { endpoint: [endpoint], requester: [name], served_entity: [name, endpoint] }[group];
  const columns = [
    ...named,
    amount("requests", t("usage.requests"), (line) => line.requests),
    amount("input", t("usage.input"), (line) => line.input),
    amount("output", t("usage.output"), (line) => line.output),
    amount("tokens", t("usage.tokens"), (line) => line.input + line.output),
  ];
  return (
    <DataTable
      columns={columns}
      rows={lines}
      rowKey={(line) => line.key}
      label={t("tabs.usage")}
      defaultSort="-requests"
      empty={null}
    />
  );
}
