import { ScrollArea, Stack, Table, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { type ChartData, summaryOf, type Value } from "./charts";
import { formatOf, useCurveName } from "./names";

const FIGURE = { whiteSpace: "nowrap", fontVariantNumeric: "tabular-nums" } as const;

/** What the charts show, in figures. */
export function SummaryTable({ charts }: { charts: ChartData[] }) {
  const { t, i18n } = useTranslation("observe");
  const nameOf = useCurveName();
  const format = formatOf(i18n.language);
  const shown = (value: Value) => (value === null ? "–" : format(value));
  return (
    <Stack gap={4} component="section" aria-label={t("metrics.summary")}>
      <Title order={3} fz="md">
        {t("metrics.summary")}
      </Title>
      <ScrollArea type="auto" viewportProps={{ tabIndex: 0, role: "group", "aria-label": t("metrics.summary") }}>
        <Table aria-label={t("metrics.summary")} verticalSpacing={3} miw={420}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t("metrics.metric")}</Table.Th>
              <Table.Th>{t("metrics.series")}</Table.Th>
              <Table.Th ta="right">{t("metrics.last")}</Table.Th>
              <Table.Th ta="right">{t("metrics.average")}</Table.Th>
              <Table.Th ta="right">{t("metrics.max")}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {charts.flatMap((chart) =>
              chart.curves.map((curve) => {
                const { last, average, most } = summaryOf(curve.values);
                return (
                  <Table.Tr key={`${chart.key} ${curve.entity} ${curve.kind}`}>
                    <Table.Td>{t(`metrics.${chart.key}`)}</Table.Td>
                    <Table.Td>{nameOf(curve)}</Table.Td>
                    <Table.Td ta="right" style={FIGURE}>{shown(last)}</Table.Td>
                    <Table.Td ta="right" style={FIGURE}>{shown(average)}</Table.Td>
                    <Table.Td ta="right" style={FIGURE}>{shown(most)}</Table.Td>
                  </Table.Tr>
                );
              }),
            )}
          </Table.Tbody>
        </Table>
      </ScrollArea>
    </Stack>
  );
}
