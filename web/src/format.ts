// Figures and times in the language of the page.

const UNITS: [string, number][] = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** "3m 20s", "2d 4h": the two biggest units. */
export function duration(seconds: number, language: string): string {
  const whole = Math.max(0, Math.round(seconds));
  const first = Math.max(0, UNITS.findIndex(([, length]) => whole >= length));
  const shown = whole === 0 ? UNITS.slice(-1) : UNITS.slice(first, first + 2);
  let rest = whole;
  const words: string[] = [];
  for (const [unit, length] of shown) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0 || words.length === 0) {
      words.push(new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "narrow" }).format(count));
    }
  }
  return words.join(" ");
}

export function memory(bytes: number, language: string): string {
  const mebibytes = bytes / 1024 ** 2;
  const format = new Intl.NumberFormat(language, { maximumFractionDigits: mebibytes >= 1024 ? 1 : 0 });
  return mebibytes >= 1024 ? `${format.format(mebibytes / 1024)} GiB` : `${format.format(mebibytes)} MiB`;
}

export function percent(value: number, language: string, digits = 1): string {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(value / 100);
}

const DAY_SECONDS = 86_400;

/** A place on an axis of time whose places are `step` seconds apart: the day, or the time of day where that says which one it is. */
export function axisTime(seconds: number, step: number, language: string, timeZone?: "UTC"): string {
  const time = new Date(seconds * 1000);
  const midnight = timeZone ? time.getUTCHours() === 0 && time.getUTCMinutes() === 0 : time.getHours() === 0 && time.getMinutes() === 0;
  const format: Intl.DateTimeFormatOptions =
    step >= DAY_SECONDS || midnight ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Intl.DateTimeFormat(language, { ...format, timeZone }).format(time);
}
