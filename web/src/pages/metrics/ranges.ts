import type { UsageBucket } from "../../api/schema";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export interface Range {
  key: string;
  seconds: number;
  step: number;
  bucket: UsageBucket;
  bucketSeconds: number;
}

const range = (key: string, seconds: number, step: number, hourly = false): Range => ({
  key,
  seconds,
  step,
  bucket: hourly ? "hour" : "minute",
  bucketSeconds: hourly ? HOUR : MINUTE,
});

/** What can be looked at: no more points than a screen shows, and as far back as metrics are kept. */
export const RANGES: Range[] = [
  range("15m", 15 * MINUTE, MINUTE),
  range("1h", HOUR, MINUTE),
  range("6h", 6 * HOUR, MINUTE),
  range("24h", DAY, 5 * MINUTE, true),
  range("7d", 7 * DAY, 30 * MINUTE, true),
  range("14d", 14 * DAY, HOUR, true),
];

export const DEFAULT_RANGE = "1h";

export function rangeOf(key: string): Range {
  return RANGES.find((one) => one.key === key) ?? RANGES.find((one) => one.key === DEFAULT_RANGE)!;
}
