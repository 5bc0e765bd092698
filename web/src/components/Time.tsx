import { Text, type TextProps } from "@mantine/core";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/** "3 minutes ago" in the language of the page. */
export function relativeTime(milliseconds: number, language: string, now = Date.now()): string {
  const seconds = (milliseconds - now) / 1000;
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  for (const [unit, length] of STEPS) {
    if (Math.abs(seconds) >= length) return format.format(Math.trunc(seconds / length), unit);
  }
  return format.format(Math.trunc(seconds), "second");
}

export function absoluteTime(milliseconds: number, language: string): string {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(milliseconds);
}

/** A time (milliseconds since the epoch) as its distance from now; whole in its title. */
export function TimeAgo({ at, ...rest }: { at: number | null | undefined } & TextProps) {
  const { i18n } = useTranslation();
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = window.setInterval(() => tick((n) => n + 1), 15_000);
    return () => window.clearInterval(timer);
  }, []);
  if (!at) return <Text component="span" inherit {...rest}>–</Text>;
  return (
    <Text component="time" inherit dateTime={new Date(at).toISOString()} title={absoluteTime(at, i18n.language)} style={{ whiteSpace: "nowrap" }} {...rest}>
      {relativeTime(at, i18n.language)}
    </Text>
  );
}

/** A time whole, to the second. */
export function Time({ at, ...rest }: { at: number | null | undefined } & TextProps) {
  const { i18n } = useTranslation();
  return (
    <Text component="span" inherit style={{ whiteSpace: "nowrap" }} {...rest}>
      {at ? absoluteTime(at, i18n.language) : "–"}
    </Text>
  );
}
