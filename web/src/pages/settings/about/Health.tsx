import { Group, Skeleton, Text } from "@mantine/core";
import { IconCircleCheckFilled, IconCircleXFilled } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { Facts } from "../parts/Facts";
import { Section } from "../parts/Section";

const EVERY_MS = 10_000;
const OK = "ok";
const COMPONENTS = ["gateway", "control_plane", "mlflow"];

interface HealthDocument {
  status: string;
  /** "ok", or what is wrong, by component. */
  components: Record<string, string>;
}

/** The same document comes with 503 where a component is not well. */
async function readHealth(): Promise<HealthDocument> {
  return (await fetch("/health")).json() as Promise<HealthDocument>;
}

/** How the parts of the server are. */
export function Health() {
  const { t } = useTranslation("settings");
  const health = useQuery({ queryKey: ["health"], queryFn: readHealth, refetchInterval: EVERY_MS });
  if (health.isError) return <ErrorPanel error={health.error} retry={() => void health.refetch()} />;
  const parts = Object.entries(health.data?.components ?? {});
  return (
    <Section title={t("about.health")}>
      {!health.data ? (
        <Skeleton height={72} maw={760} />
      ) : (
        <Facts
          label={t("about.health")}
          rows={parts.map(([name, state]) => ({
            name: COMPONENTS.includes(name) ? t(`about.components.${name}`) : name,
            value: <ComponentState state={state} />,
          }))}
        />
      )}
    </Section>
  );
}

function ComponentState({ state }: { state: string }) {
  const { t } = useTranslation("settings");
  return (
    <Group gap={6} wrap="nowrap">
      {state === OK ? (
        <IconCircleCheckFilled size={15} color="var(--mantine-color-green-7)" aria-hidden />
      ) : (
        <IconCircleXFilled size={15} color="var(--mantine-color-red-7)" aria-hidden />
      )}
      <Text inherit>{state === OK ? t("about.healthy") : state}</Text>
    </Group>
  );
}
