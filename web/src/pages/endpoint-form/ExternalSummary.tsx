import { Group, Input, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useEndpointFormContext } from "./formContext";
import { askedFields, isVirtual, lacksCredential } from "./providers";
import { TrafficField } from "./TrafficField";

/** What has been chosen of a provider's model; it is changed in the form that selects it. */
export function ExternalSummary({ at, locked }: { at: number; locked: boolean }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const entity = form.values.entities[at]!;
  const { external } = entity;
  const prefix = `entities.${at}.external`;
  const errors = Object.entries(form.errors).filter(([path]) => path === prefix || path.startsWith(`${prefix}.`));
  const fields = askedFields(external).flatMap((field) => {
    const label = t(`fields.${field.name.replace(".", "_")}`);
    if (field.kind !== "credential") {
      const value = external.options[field.name] ?? "";
      return value && !isVirtual(field.name) ? [{ label, value }] : [];
    }
    const credential = external.credentials[field.name];
    if (!credential) return [];
    return [{ label, value: credential.source === "secret" ? credential.value : t(`credential.${credential.source}Set`) }];
  });
  return (
    <Stack gap="xs">
      <Group gap="xs">
        <Text size="sm">{t(`providers.${external.provider}`)}</Text>
        <Text size="sm" c="dimmed">
          {t(`tasks.${external.task}`)}
        </Text>
      </Group>
      {fields.length > 0 && (
        <Table verticalSpacing={2} horizontalSpacing={0} withRowBorders={false} layout="fixed">
          <Table.Tbody>
            {fields.map((field) => (
              <Table.Tr key={field.label}>
                <Table.Th w="40%" fw={400} c="dimmed">
                  {field.label}
                </Table.Th>
                <Table.Td className="mono cut" title={field.value}>
                  {field.value}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      {form.values.entities.length > 1 && (
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <TrafficField at={at} locked={locked} />
        </SimpleGrid>
      )}
      {lacksCredential(entity) && !errors.length && <Input.Description>{t("credential.keptHint")}</Input.Description>}
      {errors.map(([path, message]) => (
        <Input.Error key={path} role="alert">
          {message}
        </Input.Error>
      ))}
    </Stack>
  );
}
