import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { duration } from "../../format";

/** How long something has gone on since `from` (milliseconds since the epoch), by the second. */
export function Elapsed({ from }: { from: number }) {
  const { i18n } = useTranslation();
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, []);
  return <>{duration((now - from) / 1000, i18n.language)}</>;
}
