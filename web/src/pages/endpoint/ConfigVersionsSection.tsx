import { Badge, Button, Group, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../api/client";
import { refreshEndpoint } from "../../api/queries";
import type { ConfigVersion, EndpointDetail } from "../../api/schema";
import { ConfirmModal, notifyDone } from "../../components/confirm";
import { type Column, DataTable } from "../../components/DataTable";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { TimeAgo } from "../../components/Time";
import { allowed, trafficOf } from "./endpointKind";
import { percent } from "../../format";
import { TitledSection } from "./TitledSection";
import { useConfigVersions } from "./useConfigVersions";

/** "iris-1: main.default.iris v1 (100 %)", for each entity. */
function describe({ config }: ConfigVersion, language: string): string[] {
  return config.served_entities.map((entity) => {
    const { external_model: external, entity_name: model = "–", entity_version: version } = entity;
    const served = external?.name ?? (version ? `${model} v${version}` : model);
    return `${entity.name}: ${served} (${percent(trafficOf(config, entity), language, 0)})`;
  });
}

const MOST_SHOWN = 4;

function shortened(lines: string[]): string[] {
  return lines.length > MOST_SHOWN ? [...lines.slice(0, MOST_SHOWN - 1), `+${lines.length - MOST_SHOWN + 1}`] : lines;
}

/** How the version stands to what serves; nothing for one of the past. */
function mark({ active, pending, config_version: version }: ConfigVersion, { state, config }: EndpointDetail): string | undefined {
  if (active) return "active";
  if (pending) return state.config_update === "UPDATE_FAILED" ? "failed" : "pending";
  return state.config_update === "UPDATE_CANCELED" && version > (config?.config_version ?? 0) ? "canceled" : undefined;
}

/** A version that has not come to serve is not gone back to, but tried again. */
function isAgain({ config_version: version }: ConfigVersion, { config }: EndpointDetail): boolean {
  return version > (config?.config_version ?? 0);
}

/** What the endpoint has served and what it was to serve, and the way back to it. */
export function ConfigVersionsSection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t, i18n } = useTranslation(["endpoint", "common"]);
  const { data, error, refetch } = useConfigVersions(endpoint);
  const [asked, setAsked] = useState<ConfigVersion | null>(null);
  const [asking, { open, close }] = useDisclosure();
  const { rollBack } = allowed(endpoint);
  const { name } = endpoint;

  async function deploy({ config_version: version }: ConfigVersion) {
    const body = { config_version: version };
    await unwrap(client.POST("/api/2.0/serving-endpoints/{name}/config:rollback", { params: { path: { name } }, body }));
    notifyDone(t("done.rolledBack", { version }));
    await refreshEndpoint(name);
  }

  const word = (row: ConfigVersion) => (isAgain(row, endpoint) ? "deployAgain" : "rollBack");
  const columns: Column<ConfigVersion>[] = [
    {
      key: "version",
      title: t("version.version"),
      width: 150,
      cell: (row) => (
        <Group gap={8} wrap="nowrap">
          {row.config_version}
          {mark(row, endpoint) && (
            <Badge variant="outline" color="gray" c="inherit" tt="none" fw={500} style={{ flex: "none" }}>
              {t(`version.${mark(row, endpoint)}`)}
            </Badge>
          )}
        </Group>
      ),
      sortBy: (row) => row.config_version,
    },
    {
      key: "entities",
      title: t("entity.title"),
      cell: (row) =>
        // Of many entities the rest is in the title.
        shortened(describe(row, i18n.language)).map((line, index, lines) => (
          <Text
            key={line}
            inherit
            className="cut"
            maw={520}
            title={index === lines.length - 1 ? describe(row, i18n.language).slice(index).join("\n") : line}
          >
            {line}
          </Text>
        )),
    },
    {
      key: "created",
      title: t("entity.created"),
      cell: (row) => <TimeAgo at={row.creation_timestamp} />,
      sortBy: (row) => row.creation_timestamp,
    },
    {
      key: "by",
      title: t("version.by"),
      cell: (row) => (
        <Text inherit className="cut" maw={200} title={row.created_by}>
          {row.created_by}
        </Text>
      ),
      sortBy: (row) => row.created_by,
    },
  ];
  if (rollBack) {
    columns.push({
      key: "actions",
      title: t("version.actions"),
      align: "right",
      cell: (row) =>
        !row.active && (
          <Button
            size="compact-sm"
            variant="default"
            onClick={() => {
              setAsked(row);
              open();
            }}
            aria-label={t(`version.${word(row)}To`, { version: row.config_version })}
          >
            {t(`version.${word(row)}`)}
          </Button>
        ),
    });
  }
  return (
    <TitledSection title={t("version.title")}>
      {error && !data ? (
        <ErrorPanel error={error} retry={() => void refetch()} />
      ) : (
        <DataTable
          columns={columns}
          rows={data}
          rowKey={(row) => String(row.config_version)}
          label={t("version.title")}
          prefix="version-"
          pageSize={10}
          empty={<EmptyState title={t("version.none")}>{t("version.noneHint")}</EmptyState>}
        />
      )}
      {asked && (
        <ConfirmModal
          opened={asking}
          close={close}
          title={t(`version.${word(asked)}To`, { version: asked.config_version })}
          action={t(`version.${word(asked)}`)}
          run={() => deploy(asked)}
        >
          {t("version.rollBackText")}
          {describe(asked, i18n.language).map((line) => (
            <Text key={line} size="sm" mt={4} className="mono">
              {line}
            </Text>
          ))}
        </ConfirmModal>
      )}
    </TitledSection>
  );
}
