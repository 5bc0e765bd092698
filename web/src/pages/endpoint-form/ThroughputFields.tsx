import { Checkbox, NumberInput, SegmentedControl, SimpleGrid, Stack } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useEndpointFormContext } from "./formContext";
import { useOptimization } from "./MyModelPicker";
import { TrafficField } from "./TrafficField";

/** How much throughput a foundation model gets: in model units or in tokens per second. */
export function ThroughputFields({ at, locked }: { at: number; locked: boolean }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const entity = form.values.entities[at]!;
  const path = `entities.${at}`;
  const { data } = useOptimization(entity.entityName, entity.entityVersion);
  const units = data?.model_unit_chunk_size ?? 1;
  const tokens = data?.throughput_chunk_size ?? 1;
  return (
    <Stack gap="xs" align="stretch">
      <SegmentedControl
        {...form.getInputProps(`${path}.throughputIn`)}
        aria-label={t("throughput.in")}
        size="xs"
        data={[
          { value: "units", label: t("throughput.units") },
          { value: "tokens", label: t("throughput.tokens") },
        ]}
        disabled={locked}
        style={{ alignSelf: "flex-start" }}
      />
      <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm" verticalSpacing="xs">
        {entity.throughputIn === "units" ? (
          <NumberInput
            {...form.getInputProps(`${path}.modelUnits`)}
            label={t("throughput.modelUnits")}
            description={t("throughput.steps", { step: units })}
            min={units}
            step={units}
            allowDecimal={false}
            disabled={locked}
          />
        ) : (
          <>
            <NumberInput
              {...form.getInputProps(`${path}.minThroughput`)}
              label={t("throughput.min")}
              description={t("throughput.steps", { step: tokens })}
              min={0}
              step={tokens}
              allowDecimal={false}
              disabled={locked}
            />
            <NumberInput
              {...form.getInputProps(`${path}.maxThroughput`)}
              label={t("throughput.max")}
              description={t("throughput.steps", { step: tokens })}
              min={tokens}
              step={tokens}
              allowDecimal={false}
              disabled={locked}
            />
          </>
        )}
        <TrafficField at={at} locked={locked} />
      </SimpleGrid>
      {entity.throughputIn === "tokens" && (
        <Checkbox {...form.getInputProps(`${path}.scaleToZero`, { type: "checkbox" })} label={t("size.scaleToZero")} disabled={locked} />
      )}
      <Checkbox
        {...form.getInputProps(`${path}.burstScaling`, { type: "checkbox" })}
        label={t("throughput.burst")}
        description={t("throughput.burstHint")}
        disabled={locked}
      />
    </Stack>
  );
}
