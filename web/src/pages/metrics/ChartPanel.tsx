import { Box, Center, Group, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ConfigChange } from "../../api/schema";
import type { ChartData } from "./charts";
import { formatOf, useCurveName } from "./names";
import { Plot } from "./Plot";
import { Swatch } from "./Swatch";

interface Props {
  chart: ChartData;
  start: number;
  end: number;
  changes: ConfigChange[];
  colour: (entity: string) => string;
}

/** A chart under its title, with what its curves are and the values where the pointer is, else the last ones. */
export function ChartPanel({ chart, start, end, changes, colour }: Props) {
  const { t, i18n } = useTranslation("observe");
  const [cursor, setCursor] = useState<number | null>(null);
  const nameOf = useCurveName();
  const format = formatOf(i18n.language);
  const title = t(`metrics.${chart.key}`);
  const empty = chart.curves.every((curve) => curve.values.every((value) => value === null));
  const time = cursor === null ? undefined : chart.times[cursor];
  return (
    <Stack gap={4} component="section" aria-label={title} miw={0}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Title order={3} fz="md">
          {title}
        </Title>
        {time !== undefined && (
          <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>
            {new Intl.DateTimeFormat(i18n.language, { dateStyle: "short", timeStyle: "short", hourCycle: "h23" }).format(time * 1000)}
          </Text>
        )}
      </Group>
      {empty ? (
        <Center h={190} bd="1px dashed var(--mantine-color-default-border)">
          <Text size="sm" c="dimmed">
            {t("metrics.noData")}
          </Text>
        </Center>
      ) : (
        <>
          <Plot
            chart={chart}
            start={start}
            end={end}
            changes={changes}
            colour={colour}
            format={format}
            onCursor={setCursor}
            label={title}
          />
          <Group gap="md" style={{ rowGap: 2 }} aria-hidden>
            {chart.curves.map((curve) => {
              const value = cursor === null ? curve.values.findLast((one) => one !== null) : curve.values[cursor];
              return (
                <Group key={`${curve.entity} ${curve.kind}`} gap={6} wrap="nowrap" maw="100%">
                  <Swatch colour={colour(curve.entity)} dashed={curve.dashed} />
                  <Text size="xs" className="cut" title={nameOf(curve)}>
                    {nameOf(curve)}
                  </Text>
                  <Box component="span" fz="xs" fw={600} miw={36} style={{ fontVariantNumeric: "tabular-nums" }}>
                    {value === null || value === undefined ? "–" : format(value)}
                  </Box>
                </Group>
              );
            })}
          </Group>
        </>
      )}
    </Stack>
  );
}
