import { useElementSize } from "@mantine/hooks";
import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { ConfigChange } from "../../api/schema";
import type { ChartData } from "./charts";
import { optionsOf } from "./drawing";

interface Props {
  chart: ChartData;
  /** Milliseconds. */
  start: number;
  end: number;
  changes: ConfigChange[];
  colour: (entity: string) => string;
  format: (value: number) => string;
  onCursor: (index: number | null) => void;
  /** What the picture shows, for those who do not see it. */
  label: string;
}

const HEIGHT = 190;

/** The curves of a chart, as wide as there is room. */
export function Plot({ chart, start, end, changes, colour, format, onCursor, label }: Props) {
  const { i18n } = useTranslation();
  const dark = useComputedColorScheme("light") === "dark";
  const { ref: measured, width } = useElementSize<HTMLDivElement>();
  const drawn = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef({ chart, start, end, changes, colour, format, onCursor });
  useEffect(() => {
    latest.current = { chart, start, end, changes, colour, format, onCursor };
  });

  // uPlot draws on by itself; it is made anew when there are other curves, colours or words.
  const shape = chart.curves.map((curve) => `${curve.entity}/${curve.kind}`).join(" ");
  const there = width > 0;
  useEffect(() => {
    const place = drawn.current;
    if (!there || !place) return;
    const style = getComputedStyle(place);
    const now = latest.current;
    const created = new uPlot(
      optionsOf({
        width: place.clientWidth,
        height: HEIGHT,
        language: i18n.language,
        text: style.getPropertyValue("--mantine-color-dimmed"),
        grid: style.getPropertyValue("--mantine-color-default-border"),
        curves: now.chart.curves,
        stepped: now.chart.stepped,
        colour: now.colour,
        format: (value) => latest.current.format(value),
        span: () => [latest.current.start / 1000, latest.current.end / 1000],
        changes: () => latest.current.changes,
        onCursor: (index) => latest.current.onCursor(index),
      }),
      dataOf(now.chart),
      place,
    );
    plot.current = created;
    return () => {
      plot.current = null;
      created.destroy();
    };
  }, [there, shape, dark, i18n.language]);

  useEffect(() => plot.current?.setData(dataOf(chart)), [chart, start, end]);
  useEffect(() => {
    if (width > 0) plot.current?.setSize({ width, height: HEIGHT });
  }, [width]);

  return (
    <div ref={measured} role="img" aria-label={label} style={{ height: HEIGHT, overflow: "hidden" }}>
      <div ref={drawn} />
    </div>
  );
}

function dataOf(chart: ChartData): uPlot.AlignedData {
  return [chart.times, ...chart.curves.map((curve) => curve.values)];
}
