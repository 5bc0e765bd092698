import { Anchor, SimpleGrid, Skeleton, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { ErrorPanel } from "../../components/ErrorPanel";
import { useVersionMetrics } from "./byStage";
import { figuresOf } from "./figures";

/** The last hour of a version in a few figures. */
export function VersionFigures({ name, version, endpoint }: { name: string; version: string; endpoint: string }) {
  const { t, i18n } = useTranslation("models");
  const metrics = useVersionMetrics(name, version);
  if (metrics.isError && !metrics.data) return <ErrorPanel error={metrics.error} retry={() => void metrics.refetch()} />;
  if (!metrics.data) return <Skeleton height={80} />;
  const figures = figuresOf(metrics.data);
  const count = new Intl.NumberFormat(i18n.language, { maximumFractionDigits: 1 });
  const milliseconds = new Intl.NumberFormat(i18n.language, { style: "unit", unit: "millisecond", maximumFractionDigits: 1 });
  const shown = (value: number | null, format: Intl.NumberFormat) => (value === null ? "–" : format.format(value));
  const items = [
    { label: t("figures.requests"), value: count.format(figures.requests) },
    { label: t("figures.errors4xx"), value: count.format(figures.errors4xx) },
    { label: t("figures.errors5xx"), value: count.format(figures.errors5xx) },
    { label: t("figures.p50"), value: shown(figures.p50, milliseconds) },
    { label: t("figures.p99"), value: shown(figures.p99, milliseconds) },
    {
      label: t("figures.concurrency"),
      value: t("figures.ofConcurrency", { used: shown(figures.used, count), all: shown(figures.provisioned, count) }),
    },
  ];
  return (
    <Stack gap="sm">
      <SimpleGrid component="dl" m={0} cols={{ base: 2, sm: 3, lg: 6 }} verticalSpacing="xs">
        {items.map(({ label, value }) => (
          <div key={label}>
            <Text component="dt" size="xs" c="dimmed">
              {label}
            </Text>
            <Text component="dd" m={0} size="lg" fw={500}>
              {value}
            </Text>
          </div>
        ))}
      </SimpleGrid>
      <Text size="sm" c="dimmed">
        {t("figures.when")}{" "}
        <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(endpoint)}/metrics`} underline="always">
          {t("figures.all")}
        </Anchor>
      </Text>
    </Stack>
  );
}
