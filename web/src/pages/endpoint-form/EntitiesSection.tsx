import { Button, Group, Input, Stack, Text, Title, UnstyledButton } from "@mantine/core";
import { IconChevronRight, IconPlus } from "@tabler/icons-react";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { EntityPanel } from "./EntityPanel";
import { useEndpointFormContext } from "./formContext";
import { SelectEntity } from "./SelectEntity";
import { type EntityKind, type EntityValues, evenShares, trafficSum, without } from "./values";

interface Props {
  /** What the endpoint was made for, where that is settled. */
  fixedKind?: EntityKind;
  /** Why nothing of it can be changed now. */
  locked?: ReactNode;
}

/** What the endpoint serves, and which share of the requests each gets. */
export function EntitiesSection({ fixedKind, locked }: Props) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const { entities } = form.values;
  /** The one that is selected anew, "new" for one more. */
  const [selecting, setSelecting] = useState<number | "new" | null>(null);
  const others = entities.filter((_, at) => at !== selecting);
  const error = form.errors.entities;

  function confirm(entity: EntityValues) {
    if (selecting === "new") {
      form.setFieldValue("entities", [...entities, { ...entity, traffic: entities.length ? 0 : 100 }]);
    } else {
      form.setFieldValue(
        "entities",
        entities.map((one, at) => (at === selecting ? entity : one)),
      );
    }
    form.clearErrors();
    setSelecting(null);
  }

  return (
    <Stack gap="sm" component="section" aria-labelledby="served-entities">
      <Title order={2} id="served-entities">
        {t("entities.title")}
      </Title>
      {locked}
      {entities.map((entity, at) => (
        <EntityPanel
          key={entity.id}
          at={at}
          locked={!!locked}
          edit={() => setSelecting(at)}
          remove={() => {
            form.clearErrors();
            form.setFieldValue("entities", without(entities, at));
          }}
        />
      ))}
      {entities.length > 1 && <TrafficLine locked={!!locked} />}
      {!entities.length && !locked && (
        <Input.Wrapper label={t("entities.entity")} required error={error} labelElement="div">
          <UnstyledButton
            onClick={() => setSelecting("new")}
            w="100%"
            px="sm"
            py={8}
            aria-label={`${t("entities.entity")}: ${t("entities.select")}`}
            aria-invalid={!!error}
            bd="1px solid var(--mantine-color-default-border)"
            style={{ borderRadius: "var(--mantine-radius-sm)" }}
          >
            <Group justify="space-between">
              <Text size="sm" c="dimmed">
                {t("entities.select")}
              </Text>
              <IconChevronRight size={16} />
            </Group>
          </UnstyledButton>
        </Input.Wrapper>
      )}
      {entities.length > 0 && error && <Input.Error role="alert">{error}</Input.Error>}
      {entities.length > 0 && !locked && (
        <Group>
          <Button variant="default" size="xs" leftSection={<IconPlus size={14} />} onClick={() => setSelecting("new")}>
            {t("entities.add")}
          </Button>
        </Group>
      )}
      {selecting !== null && (
        <SelectEntity
          entity={selecting === "new" ? undefined : entities[selecting]}
          kind={fixedKind ?? others[0]?.kind}
          errors={selecting === "new" ? {} : providerErrors(form.errors, selecting)}
          close={() => setSelecting(null)}
          confirm={confirm}
        />
      )}
    </Stack>
  );
}

function TrafficLine({ locked }: { locked: boolean }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const { entities } = form.values;
  const sum = trafficSum(entities);
  const wrong = sum !== 100;
  const evenly = evenShares(entities.length);
  return (
    <Stack gap={4}>
      <Group justify="space-between" gap="xs">
        <Text size="sm" c={wrong ? "var(--mantine-color-error)" : "dimmed"} role={wrong ? "alert" : "status"}>
          {wrong ? t("traffic.wrong", { sum }) : t("traffic.right")}
        </Text>
        {!locked && (
          <Button
            size="compact-sm"
            variant="subtle"
            onClick={() => {
              form.clearFieldError("traffic");
              form.setFieldValue(
                "entities",
                entities.map((one, at) => ({ ...one, traffic: evenly[at] ?? 0 })),
              );
            }}
          >
            {t("traffic.evenly")}
          </Button>
        )}
      </Group>
      {!wrong && form.errors.traffic && <Input.Error role="alert">{form.errors.traffic}</Input.Error>}
    </Stack>
  );
}

/** The messages about a provider's fields, by field. */
function providerErrors(errors: Record<string, ReactNode>, at: number): Record<string, string> {
  const prefix = `entities.${at}.external.`;
  const found = Object.entries(errors).filter(([path]) => path.startsWith(prefix));
  return Object.fromEntries(found.map(([path, message]) => [path.slice(prefix.length), String(message)]));
}
