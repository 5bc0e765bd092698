import { Button, Group, Input, SegmentedControl, Select, Skeleton, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useId, useMemo } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import { useEndpoints } from "../../../api/queries";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { useUrlValue } from "../../../components/UrlSearch";
import { LISTBOX_SCROLLS } from "../parts/listbox";
import { type Range, RangePicker, useRange } from "../parts/RangePicker";
import { Section } from "../parts/Section";
import { bucketsFor, GROUPS, MEASURES, series, totals } from "./usage";
import { CHART_HEIGHT, UsageChart } from "./UsageChart";
import { UsageTable } from "./UsageTable";

const SHOWN: Range[] = ["1h", "24h", "7d", "30d", "90d", "custom"];

export default function UsageTab() {
  const { t, i18n } = useTranslation(["settings", "common"]);
  const range = useRange("24h");
  const [endpoint, setEndpoint] = useUrlValue("endpoint");
  const [groupText, setGroup] = useUrlValue("by", GROUPS[0]);
  const [measureText, setMeasure] = useUrlValue("measure", MEASURES[0]);
  const [bucketText, setBucket] = useUrlValue("bucket");
  const endpoints = useEndpoints();
  const group = GROUPS.find((one) => one === groupText) ?? "endpoint";
  const measure = MEASURES.find((one) => one === measureText) ?? "requests";
  const buckets = bucketsFor(range.range, range.span());
  const bucket = buckets.find((one) => one === bucketText) ?? buckets[0] ?? "day";

  const usage = useQuery({
    queryKey: ["usage", range.range, range.from, range.to, endpoint, group, bucket],
    queryFn: async () => {
      const span = range.span();
      const query = {
        group_by: group,
        bucket,
        start_time_ms: span.start === undefined ? undefined : Math.round(span.start),
        end_time_ms: span.end,
        endpoint_name: endpoint || undefined,
      };
      const found = await unwrap(client.GET("/api/2.0/moorage/usage", { params: { query } }));
      return { sums: found.sums ?? [], span };
    },
  });
  const lines = useMemo(() => usage.data && totals(usage.data.sums, group), [usage.data, group]);
  const bars = useMemo(() => usage.data && series(usage.data.sums, bucket, measure, usage.data.span), [usage.data, bucket, measure]);
  const number = new Intl.NumberFormat(i18n.language);
  const whole = (part: "requests" | "input" | "output") => number.format(lines?.reduce((sum, line) => sum + line[part], 0) ?? 0);
  const nothing = lines?.length === 0;

  return (
    <Section
      title={t("tabs.usage")}
      hint={t("usage.hint")}
      actions={
        <Button variant="default" onClick={() => void usage.refetch()} loading={usage.isRefetching}>
          {t("common:refresh")}
        </Button>
      }
    >
      <Group gap="xs" align="flex-end">
        <RangePicker value={range} ranges={SHOWN} />
        <Select
          label={t("usage.endpoint")}
          placeholder={t("common:all")}
          data={(endpoints.data ?? []).map((one) => one.name)}
          value={endpoint || null}
          onChange={(chosen) => setEndpoint(chosen ?? "")}
          searchable
          clearable
          {...LISTBOX_SCROLLS}
          clearButtonProps={{ "aria-label": t("common:clear") }}
          w={220}
        />
        <Choice
          label={t("usage.by")}
          data={GROUPS.map((one) => ({ value: one, label: t(`usage.groups.${one}`) }))}
          value={group}
          set={setGroup}
        />
        <Choice
          label={t("usage.step")}
          data={buckets.map((one) => ({ value: one, label: t(`usage.buckets.${one}`) }))}
          value={bucket}
          set={setBucket}
        />
        <Choice
          label={t("usage.measure")}
          data={MEASURES.map((one) => ({ value: one, label: t(`usage.${one}`) }))}
          value={measure}
          set={setMeasure}
        />
      </Group>
      {usage.isError ? (
        <ErrorPanel error={usage.error} retry={() => void usage.refetch()} />
      ) : nothing ? (
        <EmptyState title={t("usage.none")}>{t("usage.noneHint")}</EmptyState>
      ) : (
        <>
          {bars ? <UsageChart data={bars} bucket={bucket} label={t(`usage.${measure}`)} /> : <Skeleton height={CHART_HEIGHT} />}
          {lines && (
            <Text size="sm" c="dimmed">
              {t("usage.sum", { requests: whole("requests"), input: whole("input"), output: whole("output") })}
            </Text>
          )}
          <UsageTable lines={lines} group={group} live={new Set(endpoints.data?.map((one) => one.id))} />
        </>
      )}
    </Section>
  );
}

interface ChoiceProps {
  label: string;
  data: { value: string; label: string }[];
  value: string;
  set: (value: string) => void;
}

function Choice({ label, data, value, set }: ChoiceProps) {
  const id = useId();
  return (
    <Stack gap={2}>
      <Input.Label labelElement="div" id={id}>
        {label}
      </Input.Label>
      <SegmentedControl data={data} value={value} onChange={set} aria-labelledby={id} />
    </Stack>
  );
}
