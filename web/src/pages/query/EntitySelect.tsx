import { Select } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { EndpointDetail } from "../../api/schema";

interface Props {
  endpoint: EndpointDetail;
  /** null: whichever the traffic's percentages give. */
  value: string | null;
  onChange: (entity: string | null) => void;
}

const BY_TRAFFIC = "";

/** To whom a request goes. */
export function EntitySelect({ endpoint, value, onChange }: Props) {
  const { t } = useTranslation("query");
  const routes = endpoint.config?.traffic_config?.routes ?? [];
  const entities = endpoint.config?.served_entities ?? [];
  if (entities.length === 0) return null;
  const routeTo = (name: string) => routes.find((route) => (route.served_entity_name ?? route.served_model_name) === name);
  const share = (name: string) => routeTo(name)?.traffic_percentage ?? 0;
  return (
    <Select
      label={t("sendTo")}
      data={[
        { value: BY_TRAFFIC, label: t("byTraffic") },
        ...entities.map(({ name }) => ({ value: name, label: t("entityShare", { name, percent: share(name) }) })),
      ]}
      value={value ?? BY_TRAFFIC}
      onChange={(chosen) => onChange(chosen || null)}
      allowDeselect={false}
      comboboxProps={{ withinPortal: true }}
    />
  );
}
