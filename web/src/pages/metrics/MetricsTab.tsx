import {
  Anchor,
  Chip,
  Group,
  SegmentedControl,
  Select,
  SimpleGrid,
  Skeleton,
  Stack,
  Text,
  Title,
  useComputedColorScheme,
  useMatches,
  VisuallyHidden,
} from "@mantine/core";
import { useMemo } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointDetail } from "../../api/schema";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { useUrlPatch, useUrlValue } from "../../components/UrlSearch";
import { kindOf } from "../endpoint/endpointKind";
import { ChartPanel } from "./ChartPanel";
import { chartsOf, entitiesOf, isEmpty, tokensChart } from "./charts";
import { colourOf } from "./colours";
import { useEntityName } from "./names";
import { DEFAULT_RANGE, RANGES, rangeOf } from "./ranges";
import { SummaryTable } from "./SummaryTable";
import { Swatch } from "./Swatch";
import { useMetrics, useTokens } from "./useMetrics";

const CHARTS_WHILE_LOADING = 4;

/** How an endpoint does: latency, rates, load of its replicas, tokens, by served entity over time. */
export default function MetricsTab({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["observe", "common"]);
  const dark = useComputedColorScheme("light") === "dark";
  const narrow = useMatches({ base: true, sm: false });
  const patch = useUrlPatch();
  const [rangeKey] = useUrlValue("range", DEFAULT_RANGE);
  const [hiddenNames] = useUrlValue("hide");
  const range = rangeOf(rangeKey);
  const metrics = useMetrics(endpoint.name, range);
  const tokens = useTokens(endpoint, range);
  const entityName = useEntityName();

  const hasReplicas = kindOf(endpoint) !== "EXTERNAL_MODEL";
  const charts = useMemo(() => {
    if (!metrics.data) return [];
    const ofTokens = tokens.data && tokensChart(tokens.data);
    return [...chartsOf(metrics.data, hasReplicas), ...(ofTokens ? [ofTokens] : [])];
  }, [metrics.data, tokens.data, hasReplicas]);
  const entities = useMemo(() => entitiesOf(charts), [charts]);
  const hidden = useMemo(() => new Set(hiddenNames.split(",").filter(Boolean).map(decodeURIComponent)), [hiddenNames]);
  const isHidden = (entity: string) => hidden.has(entity || NOT_ROUTED);
  const colour = (entity: string) => colourOf(entity ? entities.indexOf(entity) : null, dark);
  const shown = charts.map((chart) => ({ ...chart, curves: chart.curves.filter((curve) => !isHidden(curve.entity)) }));

  const choose = (key: string | null) => patch({ range: key === DEFAULT_RANGE ? "" : (key ?? "") });
  const choices = RANGES.map((one) => ({ value: one.key, label: t(`metrics.ranges.${one.key}`) }));
  return (
    <Stack gap="md">
      <VisuallyHidden>
        <Title order={2}>{t("metrics.title")}</Title>
      </VisuallyHidden>
      <Group gap="md" wrap="wrap">
        {narrow ? (
          <Select aria-label={t("metrics.range")} value={range.key} onChange={choose} data={choices} allowDeselect={false} />
        ) : (
          <SegmentedControl aria-label={t("metrics.range")} value={range.key} onChange={choose} data={choices} />
        )}
        {entities.length > 1 && (
          <Chip.Group
            multiple
            value={entities.filter((entity) => !isHidden(entity)).map((entity) => entity || NOT_ROUTED)}
            onChange={(names) => {
              const off = entities.map((entity) => entity || NOT_ROUTED).filter((name) => !names.includes(name));
              patch({ hide: off.map(encodeURIComponent).join(",") });
            }}
          >
            <Group gap={6} role="group" aria-label={t("metrics.entities")}>
              {entities.map((entity) => (
                <Chip key={entity} value={entity || NOT_ROUTED} size="xs" variant="outline">
                  <Group component="span" gap={6} display="inline-flex" wrap="nowrap">
                    <Swatch colour={colour(entity)} />
                    {entityName(entity)}
                  </Group>
                </Chip>
              ))}
            </Group>
          </Chip.Group>
        )}
      </Group>
      {metrics.isError && !metrics.data ? (
        <ErrorPanel error={metrics.error} retry={() => void metrics.refetch()} />
      ) : !metrics.data ? (
        <SimpleGrid cols={{ base: 1, md: 2 }} aria-busy="true">
          {Array.from({ length: CHARTS_WHILE_LOADING }, (_, index) => (
            <Skeleton key={index} height={220} />
          ))}
        </SimpleGrid>
      ) : isEmpty(metrics.data) ? (
        <EmptyState
          title={t("metrics.none")}
          action={
            <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(endpoint.name)}/query`} size="sm">
              {t("metrics.toQuery")}
            </Anchor>
          }
        >
          {t("metrics.noneHint")}
        </EmptyState>
      ) : (
        <>
          <SimpleGrid cols={{ base: 1, md: 2 }} spacing="xl" verticalSpacing="lg">
            {shown.map((chart) => (
              <ChartPanel
                key={chart.key}
                chart={chart}
                start={metrics.data.start}
                end={metrics.data.end}
                changes={metrics.data.history.config_changes}
                colour={colour}
              />
            ))}
          </SimpleGrid>
          {metrics.data.history.config_changes.length > 0 && (
            <Text size="xs" c="dimmed">
              {t("metrics.marks")}
            </Text>
          )}
          <SummaryTable charts={shown} />
        </>
      )}
    </Stack>
  );
}

// In the page's address, of the series without a name; no served entity can have it.
const NOT_ROUTED = "-";
