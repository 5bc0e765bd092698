import { Checkbox, NumberInput, Stack } from "@mantine/core";
import { useTranslation } from "react-i18next";

export const DAY_SECONDS = 24 * 3600;

interface Props {
  days: number | "";
  setDays: (days: number | "") => void;
  max: number;
  error?: string;
  /** Whether it may last for ever, and whether it is to. */
  endless?: { value: boolean; set: (value: boolean) => void };
}

/** For how many days something is to be valid. */
export function LifetimeInput({ days, setDays, max, error, endless }: Props) {
  const { t } = useTranslation("settings");
  return (
    <Stack gap={6}>
      <NumberInput
        label={t("lifetime.days")}
        value={days}
        onChange={(value) => setDays(typeof value === "number" ? value : "")}
        min={1}
        max={max}
        clampBehavior="blur"
        allowDecimal={false}
        required={!endless?.value}
        disabled={endless?.value}
        error={error}
      />
      {endless && (
        <Checkbox label={t("lifetime.endless")} checked={endless.value} onChange={(event) => endless.set(event.currentTarget.checked)} />
      )}
    </Stack>
  );
}
