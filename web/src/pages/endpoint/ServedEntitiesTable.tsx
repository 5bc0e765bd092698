import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { ServedEntityOutput } from "../../api/schema";
import { type Column, DataTable } from "../../components/DataTable";
import { EmptyState } from "../../components/EmptyState";
import { TimeAgo } from "../../components/Time";
import { DeploymentState } from "./DeploymentState";
import { computeOf, type ServedConfig, trafficOf } from "./endpointKind";
import { EntityModel } from "./EntityModel";
import { TrafficBar } from "./TrafficBar";

/** What the endpoint serves. */
export function ServedEntitiesTable({ config, stopped }: { config?: ServedConfig; stopped: boolean }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const entities = config?.served_entities ?? [];
  const external = entities.every((entity) => entity.external_model);
  const columns: Column<ServedEntityOutput>[] = [
    {
      key: "state",
      title: t("entity.state"),
      cell: (row) => <DeploymentState state={row.state} stopped={stopped} />,
      sortBy: (row) => row.state.deployment,
    },
    {
      key: "name",
      title: t("common:name"),
      cell: (row) => (
        <Text inherit className="cut" maw={280} title={row.name}>
          {row.name}
        </Text>
      ),
      sortBy: (row) => row.name,
    },
    {
      key: "model",
      title: t("entity.model"),
      cell: (row) => <EntityModel entity={row} />,
      sortBy: (row) => row.entity_name ?? row.external_model?.name ?? "",
    },
    { key: "compute", title: t("entity.compute"), cell: (row) => computeOf(row) || "–", sortBy: computeOf },
    {
      key: "zero",
      title: t("entity.scaleToZero"),
      cell: (row) => (row.scale_to_zero_enabled == null ? "–" : t(row.scale_to_zero_enabled ? "common:yes" : "common:no")),
    },
    {
      key: "traffic",
      title: t("entity.traffic"),
      cell: (row) => config && <TrafficBar value={trafficOf(config, row)} name={row.name} />,
      sortBy: (row) => (config ? trafficOf(config, row) : 0),
    },
    {
      key: "creator",
      title: t("entity.creator"),
      cell: (row) => (
        <Text inherit className="cut" maw={200} title={row.creator}>
          {row.creator}
        </Text>
      ),
    },
    {
      key: "created",
      title: t("entity.created"),
      cell: (row) => <TimeAgo at={row.creation_timestamp} />,
      sortBy: (row) => row.creation_timestamp,
    },
  ];
  return (
    <DataTable
      columns={external ? columns.filter(({ key }) => key !== "compute" && key !== "zero") : columns}
      rows={entities}
      rowKey={(row) => row.name}
      label={t("entity.title")}
      prefix="entity-"
      empty={<EmptyState title={t("entity.none")}>{t("entity.noneHint")}</EmptyState>}
    />
  );
}
