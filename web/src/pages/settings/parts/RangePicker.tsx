import { Group, Select, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useUrlPatch, useUrlValue } from "../../../components/UrlSearch";

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;

export const RANGES = { "1h": HOUR_MS, "24h": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS, "90d": 90 * DAY_MS };
export type Range = keyof typeof RANGES | "all" | "custom";

export interface Span {
  start: number | undefined;
  end: number | undefined;
}

function isRange(text: string): text is Range {
  return text in RANGES || text === "all" || text === "custom";
}

function instant(text: string): number | undefined {
  const at = text ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}

/** The time that the page's address names (`range`, or `from` and `to` in the reader's own time); `span` tells it as of now. */
export function useRange(initial: Range) {
  const patch = useUrlPatch();
  const [text, setRange] = useUrlValue("range", initial);
  const [from] = useUrlValue("from");
  const [to] = useUrlValue("to");
  const range = isRange(text) ? text : initial;
  function span(): Span {
    if (range === "custom") return { start: instant(from), end: instant(to) };
    return { start: range === "all" ? undefined : Date.now() - RANGES[range], end: undefined };
  }
  return {
    range,
    setRange,
    from,
    setFrom: (time: string) => patch({ from: time }),
    to,
    setTo: (time: string) => patch({ to: time }),
    span,
  };
}

/** Chooses the last hour, day and so on, or a beginning and an end. */
export function RangePicker({ value, ranges }: { value: ReturnType<typeof useRange>; ranges: Range[] }) {
  const { t } = useTranslation("settings");
  return (
    <Group gap="xs" align="flex-end">
      <Select
        label={t("range.label")}
        data={ranges.map((one) => ({ value: one, label: t(`range.${one}`) }))}
        value={value.range}
        onChange={(chosen) => chosen && value.setRange(chosen)}
        allowDeselect={false}
        w={180}
      />
      {value.range === "custom" && (
        <>
          <TextInput
            type="datetime-local"
            label={t("range.from")}
            value={value.from}
            onChange={(event) => value.setFrom(event.currentTarget.value)}
          />
          <TextInput
            type="datetime-local"
            label={t("range.to")}
            value={value.to}
            onChange={(event) => value.setTo(event.currentTarget.value)}
          />
        </>
      )}
    </Group>
  );
}
