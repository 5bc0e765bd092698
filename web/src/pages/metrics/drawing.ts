// How uPlot draws a chart of ours.
import uPlot from "uplot";
import type { ConfigChange } from "../../api/schema";
import { axisTime } from "../../format";
import type { Curve, Value } from "./charts";

const DASH = [5, 4];
const MARK_DASH = [2, 3];
const MARK_ROOM_PX = 30;
const SIDE_PX = 46;
const CHARACTER_PX = 6.5;
const SIDE_GAP_PX = 16;
const font = (ratio: number) => `${11 * ratio}px system-ui`;
/** Charts of one key show their values at the same time. */
const SHARED_CURSOR = "moorage.metrics";

export interface Drawing {
  width: number;
  height: number;
  language: string;
  text: string;
  grid: string;
  curves: Curve[];
  stepped: boolean;
  colour: (entity: string) => string;
  format: (value: number) => string;
  /** Asked each time, because they change while the chart stays: seconds. */
  span: () => [number, number];
  changes: () => ConfigChange[];
  onCursor: (index: number | null) => void;
}

export function optionsOf(drawing: Drawing): uPlot.Options {
  const { language, text, grid, stepped } = drawing;
  const line = { stroke: grid, width: 1 };
  const axis = { stroke: text, font: font(1), grid: line, ticks: { ...line, size: 4 } };
  return {
    width: drawing.width,
    height: drawing.height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: SHARED_CURSOR }, points: { size: 7 } },
    scales: {
      x: { time: true, range: () => drawing.span() },
      y: { range: (_self, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
    },
    axes: [
      {
        ...axis,
        space: 70,
        size: 26,
        values: (_self, splits, _axis, _room, step) => splits.map((time) => axisTime(time, step, language)),
      },
      { ...axis, size: (_self, labels) => roomFor(labels), values: (_self, splits) => splits.map((value) => drawing.format(value)) },
    ],
    series: [
      {},
      ...drawing.curves.map((curve): uPlot.Series => ({
        stroke: drawing.colour(curve.entity),
        width: 1.5,
        dash: curve.dashed ? DASH : undefined,
        paths: stepped ? uPlot.paths.stepped!({ align: 1 }) : undefined,
        points: { size: 4, filter: (self, index) => alone(self.data[index] as Value[]) },
      })),
    ],
    hooks: {
      setCursor: [(self) => drawing.onCursor(self.cursor.idx ?? null)],
      draw: [(self) => drawMarks(self, drawing)],
    },
  };
}

/** As wide as the longest of them at the side of a chart. */
function roomFor(labels: string[] | null): number {
  const longest = Math.max(0, ...(labels ?? []).map((label) => label.length));
  return Math.max(SIDE_PX, longest * CHARACTER_PX + SIDE_GAP_PX);
}

/** Points between two gaps: no line goes through them. */
function alone(values: Value[]): number[] {
  const there = (index: number) => (values[index] ?? null) !== null;
  return values.flatMap((_value, index) => (there(index) && !there(index - 1) && !there(index + 1) ? [index] : []));
}

/** A line where the configuration changed, with its version as far as there is room. */
function drawMarks(self: uPlot, { changes, span, text }: Drawing): void {
  const [start, end] = span();
  const { ctx, bbox } = self;
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.strokeStyle = text;
  ctx.fillStyle = text;
  ctx.lineWidth = ratio;
  ctx.setLineDash(MARK_DASH.map((length) => length * ratio));
  ctx.font = font(ratio);
  ctx.textBaseline = "top";
  let free = -Infinity;
  for (const change of [...changes()].sort((a, b) => a.timestamp - b.timestamp)) {
    const seconds = change.timestamp / 1000;
    if (seconds < start || seconds > end) continue;
    const x = Math.round(self.valToPos(seconds, "x", true));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (x < free) continue;
    const atEdge = x + MARK_ROOM_PX * ratio > bbox.left + bbox.width;
    ctx.textAlign = atEdge ? "right" : "left";
    ctx.fillText(`v${change.config_version}`, x + (atEdge ? -4 : 4) * ratio, bbox.top + 2 * ratio);
    free = x + MARK_ROOM_PX * ratio;
  }
  ctx.restore();
}
