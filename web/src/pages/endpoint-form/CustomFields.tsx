import { Checkbox, Input, NumberInput, Select, SimpleGrid } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useModelVersions } from "../../api/registry";
import { useEndpointFormContext } from "./formContext";
import { useAliases, versionLabel } from "./MyModelPicker";
import { TrafficField } from "./TrafficField";
import { SIZES, WORKLOAD_TYPES } from "./values";

const STEP = 4;

/** Version, size and kind of machine of a custom model. */
export function CustomFields({ at, locked }: { at: number; locked: boolean }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const entity = form.values.entities[at]!;
  const path = `entities.${at}`;
  const versions = useModelVersions(entity.entityName);
  const aliases = useAliases(entity.entityName);
  const known = (versions.data ?? []).map((one) => ({ value: one.version, label: versionLabel(one, aliases.get(one.version)) }));
  const isKnown = known.some((one) => one.value === entity.entityVersion);
  const data = isKnown ? known : [{ value: entity.entityVersion, label: entity.entityVersion }, ...known];
  const size = form.getInputProps(`${path}.size`);
  return (
    <>
      <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm" verticalSpacing="xs">
        <Select
          {...form.getInputProps(`${path}.entityVersion`)}
          label={t("models.version")}
          data={data}
          allowDeselect={false}
          disabled={locked}
        />
        <TrafficField at={at} locked={locked} />
        <Select
          {...form.getInputProps(`${path}.workloadType`)}
          label={t("size.type")}
          data={WORKLOAD_TYPES}
          allowDeselect={false}
          disabled={locked}
        />
        <Select
          {...size}
          label={t("size.size")}
          data={[
            ...Object.entries(SIZES).map(([value, range]) => ({ value, label: t("size.of", { size: value, range }) })),
            { value: "range", label: t("size.range") },
          ]}
          allowDeselect={false}
          disabled={locked}
        />
        {entity.size === "range" && (
          <>
            <NumberInput
              {...form.getInputProps(`${path}.minConcurrency`)}
              label={t("size.min")}
              min={0}
              step={STEP}
              allowDecimal={false}
              disabled={locked}
            />
            <NumberInput
              {...form.getInputProps(`${path}.maxConcurrency`)}
              label={t("size.max")}
              min={STEP}
              step={STEP}
              allowDecimal={false}
              disabled={locked}
            />
          </>
        )}
      </SimpleGrid>
      {entity.size === "range" && <Input.Description>{t("size.rangeHint")}</Input.Description>}
      <Checkbox
        {...form.getInputProps(`${path}.scaleToZero`, { type: "checkbox" })}
        label={t("size.scaleToZero")}
        description={t("size.scaleToZeroHint")}
        disabled={locked}
      />
    </>
  );
}
