import { Box, useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { UsageBucket } from "../../../api/schema";
import { axisTime } from "../../../format";
import { STEPS } from "./usage";

const HEIGHT = 220;
const LEGEND_HEIGHT = 34;
export const CHART_HEIGHT = HEIGHT + LEGEND_HEIGHT;

interface Props {
  data: [number[], number[]];
  bucket: UsageBucket;
  /** What the bars are. */
  label: string;
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A bar for each step of the time. Days are those of UTC, as the server adds them up. */
export function UsageChart({ data, bucket, label }: Props) {
  const { t, i18n } = useTranslation("settings");
  const scheme = useComputedColorScheme("light");
  const { ref, width } = useElementSize();
  const place = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (!place.current || width === 0) return;
    const number = new Intl.NumberFormat(i18n.language);
    const timeZone = bucket === "day" ? "UTC" : undefined;
    const timeStyle = bucket === "day" ? undefined : "short";
    const whole = new Intl.DateTimeFormat(i18n.language, { dateStyle: "medium", timeStyle, timeZone });
    const ink = colour("--mantine-color-dimmed");
    const axis = { stroke: ink, grid: { stroke: colour("--mantine-color-default-border"), width: 1 }, ticks: { show: false } };
    const bars = uPlot.paths.bars?.({ size: [0.8, 40], align: 1 });
    const plot = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [8, 28, 0, 0],
        tzDate: (seconds) => (bucket === "day" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: {
          x: { range: (_, first, last) => [first, last + STEPS[bucket] / 1000] },
          y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] },
        },
        axes: [
          {
            ...axis,
            values: (_, splits, __, ___, step) => splits.map((at) => axisTime(at, step, i18n.language, timeZone)),
            space: 70,
            size: 32,
          },
          { ...axis, values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? number.format(value) : "")), size: 64 },
        ],
        series: [
          { label: t("usage.time"), value: (_, at) => (at === null ? "–" : whole.format(at * 1000)) },
          {
            label,
            fill: colour(scheme === "dark" ? "--mantine-color-harbor-4" : "--mantine-color-harbor-7"),
            paths: bars,
            points: { show: false },
            value: (_, value) => (value === null ? "–" : number.format(value)),
          },
        ],
      },
      data,
      place.current,
    );
    return () => plot.destroy();
  }, [data, bucket, label, width, scheme, i18n.language, t]);

  return (
    <Box ref={ref} mih={CHART_HEIGHT}>
      <div ref={place} role="img" aria-label={t("usage.chart", { what: label })} />
    </Box>
  );
}
