import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../api/client";
import type { EndpointDetail, ReplicaOutput, ReplicaState } from "../../api/schema";
import { type Column, DataTable } from "../../components/DataTable";
import { ErrorPanel } from "../../components/ErrorPanel";
import { duration, memory, percent } from "../../format";
import { StateMark, type Tone } from "./StateMark";
import { TitledSection } from "./TitledSection";

const EVERY_MS = 3000;
const TONES: Record<ReplicaState, Tone> = { STARTING: "busy", LOADING: "busy", WARMING: "busy", READY: "good", DRAINING: "off" };

/** The processes that answer, as they are now. */
export function ReplicasSection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t, i18n } = useTranslation("endpoint");
  const { name } = endpoint;
  const { data, error, refetch } = useQuery({
    queryKey: ["endpoint", name, "replicas"],
    queryFn: async ({ signal }) =>
      (await unwrap(client.GET("/api/2.0/serving-endpoints/{name}/replicas", { params: { path: { name } }, signal }))).replicas,
    refetchInterval: EVERY_MS,
  });
  const columns: Column<ReplicaOutput>[] = [
    {
      key: "id",
      title: t("replica.id"),
      cell: (row) => (
        <Text inherit component="span" className="mono cut">
          {row.id}
        </Text>
      ),
      sortBy: (row) => row.id,
    },
    {
      key: "state",
      title: t("entity.state"),
      cell: (row) => <StateMark tone={TONES[row.state]} word={t(`replica.state.${row.state}`)} />,
      sortBy: (row) => row.state,
    },
    {
      key: "entity",
      title: t("replica.entity"),
      cell: (row) => (
        <Text inherit className="cut" maw={280} title={row.served_entity_name}>
          {row.served_entity_name}
        </Text>
      ),
      sortBy: (row) => row.served_entity_name,
    },
    {
      key: "age",
      title: t("replica.age"),
      align: "right",
      cell: (row) => duration(row.age_seconds, i18n.language),
      sortBy: (row) => row.age_seconds,
    },
    {
      key: "memory",
      title: t("replica.memory"),
      align: "right",
      cell: (row) => (row.memory_bytes == null ? "–" : memory(row.memory_bytes, i18n.language)),
      sortBy: (row) => row.memory_bytes ?? 0,
    },
    {
      key: "cpu",
      title: "CPU",
      align: "right",
      cell: (row) => (row.cpu_percentage == null ? "–" : percent(row.cpu_percentage, i18n.language)),
      sortBy: (row) => row.cpu_percentage ?? 0,
    },
  ];
  return (
    <TitledSection title={t("replica.title")}>
      {error && !data ? (
        <ErrorPanel error={error} retry={() => void refetch()} />
      ) : (
        <DataTable
          columns={columns}
          rows={data}
          rowKey={(row) => row.id}
          label={t("replica.title")}
          prefix="replica-"
          defaultSort="entity"
          pageSize={20}
          empty={
            <Text size="sm" c="dimmed">
              {t(`replica.none.${whyNone(endpoint)}`)}
            </Text>
          }
        />
      )}
    </TitledSection>
  );
}

function whyNone({ stopped, state, config }: EndpointDetail): "stopped" | "zero" | "none" {
  if (stopped) return "stopped";
  const atZero = state.ready === "READY" && config?.served_entities.every((entity) => entity.scale_to_zero_enabled);
  return atZero ? "zero" : "none";
}
