import { useTranslation } from "react-i18next";
import type { Curve } from "./charts";

/** A served entity's name; requests that were refused before one was drawn have words instead. */
export function useEntityName(): (entity: string) => string {
  const { t } = useTranslation("observe");
  return (entity) => entity || t("metrics.notRouted");
}

export function useCurveName(): (curve: Pick<Curve, "entity" | "kind">) => string {
  const { t } = useTranslation("observe");
  const entityName = useEntityName();
  return ({ entity, kind }) => (kind ? `${entityName(entity)} ${t(`metrics.kinds.${kind}`)}` : entityName(entity));
}

/** Numbers of charts: three figures that count, thousands as they are. */
export function formatOf(language: string): (value: number) => string {
  const small = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
  const large = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  return (value) => (Math.abs(value) < 1000 ? small : large).format(value);
}
