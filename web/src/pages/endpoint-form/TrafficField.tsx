import { NumberInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useEndpointFormContext } from "./formContext";
import { servedName } from "./values";

/** The share of an entity, where there are several. */
export function TrafficField({ at, locked }: { at: number; locked: boolean }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const { entities } = form.values;
  if (entities.length < 2) return null;
  const props = form.getInputProps(`entities.${at}.traffic`);
  return (
    <NumberInput
      {...props}
      onChange={(value) => {
        props.onChange(value);
        form.clearFieldError("traffic");
      }}
      label={t("traffic.share")}
      aria-label={t("traffic.shareOf", { name: servedName(entities[at]!) })}
      min={0}
      max={100}
      suffix=" %"
      allowDecimal={false}
      clampBehavior="strict"
      disabled={locked}
    />
  );
}
