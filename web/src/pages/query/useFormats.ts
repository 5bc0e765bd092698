import { useTranslation } from "react-i18next";

/** Numbers as the language of the page writes them. */
export function useFormats() {
  const { i18n } = useTranslation();
  const number = (value: number, digits = 0) => new Intl.NumberFormat(i18n.language, { maximumFractionDigits: digits }).format(value);
  const unit = (value: number, of: string, digits = 0, unitDisplay: "short" | "long" = "short") =>
    new Intl.NumberFormat(i18n.language, { style: "unit", unit: of, unitDisplay, maximumFractionDigits: digits }).format(value);
  return {
    number,
    fixed: (value: number, digits: number) =>
      new Intl.NumberFormat(i18n.language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value),
    duration: (ms: number) => (ms < 1000 ? unit(ms, "millisecond", ms < 10 ? 1 : 0) : unit(ms / 1000, "second", 2)),
    size: (bytes: number) => {
      if (bytes < 1000) return unit(bytes, "byte", 0, "long");
      return bytes < 1_000_000 ? unit(bytes / 1000, "kilobyte", 1) : unit(bytes / 1_000_000, "megabyte", 1);
    },
  };
}
