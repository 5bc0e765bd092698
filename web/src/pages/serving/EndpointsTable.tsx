import { Anchor, Badge, Group, Stack, Text } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { client, unwrap } from "../../api/client";
import { refreshEndpoint } from "../../api/queries";
import type { EndpointSummary } from "../../api/schema";
import { ConfirmModal, notifyDone } from "../../components/confirm";
import { type Column, DataTable } from "../../components/DataTable";
import { conditionOf, StateIndicator } from "../../components/StateIndicator";
import { TimeAgo } from "../../components/Time";
import { CONDITIONS, entityText, tagText } from "./endpoints";
import { RowMenu } from "./RowMenu";
import { ServedEntities } from "./ServedEntities";
import { Task } from "./Task";

const TAGS = 2;

function NameCell({ endpoint }: { endpoint: EndpointSummary }) {
  const { t } = useTranslation("serving");
  const legacy = endpoint.legacy_serving;
  return (
    <Stack gap={0}>
      <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(endpoint.name)}`} size="sm" fw={600} className="cut" title={endpoint.name}>
        {endpoint.name}
      </Anchor>
      {legacy && (
        <Anchor
          component={Link}
          to={`/ml/models/${encodeURIComponent(legacy.registered_model_name)}/serving`}
          size="xs"
          className="cut"
          title={t("legacy", { model: legacy.registered_model_name })}
        >
          {t("legacy", { model: legacy.registered_model_name })}
        </Anchor>
      )}
    </Stack>
  );
}

function Tags({ tags }: Pick<EndpointSummary, "tags">) {
  const { t } = useTranslation("serving");
  const more = tags.slice(TAGS);
  return (
    <Group gap={4}>
      {tags.slice(0, TAGS).map(({ key, value }) => (
        <Badge key={key} variant="default" size="sm" tt="none" fw={400} maw="100%" title={tagText(key, value)}>
          {tagText(key, value)}
        </Badge>
      ))}
      {more.length > 0 && (
        <Text size="xs" c="dimmed" title={more.map(({ key, value }) => tagText(key, value)).join("\n")}>
          {t("more", { count: more.length })}
        </Text>
      )}
    </Group>
  );
}

/** All endpoints that match, and what can be done with each. */
export function EndpointsTable({ endpoints, empty }: { endpoints: EndpointSummary[] | undefined; empty: ReactNode }) {
  const { t } = useTranslation(["serving", "common"]);
  // The name stays while the question fades out.
  const [deleting, setDeleting] = useState({ name: "", opened: false });
  const columns: Column<EndpointSummary>[] = [
    {
      key: "state",
      title: t("column.state"),
      cell: (endpoint) => <StateIndicator endpoint={endpoint} />,
      sortBy: (endpoint) => CONDITIONS.indexOf(conditionOf(endpoint)),
    },
    {
      key: "name",
      title: t("common:name"),
      cell: (endpoint) => <NameCell endpoint={endpoint} />,
      sortBy: (endpoint) => endpoint.name,
      width: "26%",
      minWidth: 155,
    },
    {
      key: "entities",
      title: t("column.entities"),
      cell: (endpoint) => <ServedEntities endpoint={endpoint} />,
      sortBy: ({ config }) => (config?.served_entities[0] ? entityText(config.served_entities[0]).name : ""),
      width: "26%",
      minWidth: 145,
    },
    { key: "task", title: t("column.task"), cell: ({ task }) => <Task task={task} />, sortBy: ({ task }) => task ?? "" },
    { key: "tags", title: t("column.tags"), cell: ({ tags }) => <Tags tags={tags} />, width: "16%", minWidth: 80 },
    {
      key: "creator",
      title: t("column.creator"),
      cell: ({ creator }) => (
        <Text size="sm" className="cut" title={creator}>
          {creator}
        </Text>
      ),
      sortBy: ({ creator }) => creator,
      width: "14%",
      minWidth: 90,
    },
    {
      key: "modified",
      title: t("column.modified"),
      cell: (endpoint) => <TimeAgo at={endpoint.last_updated_timestamp} />,
      sortBy: (endpoint) => endpoint.last_updated_timestamp,
    },
    {
      key: "actions",
      title: t("column.actions"),
      titleHidden: true,
      cell: (endpoint) => <RowMenu endpoint={endpoint} remove={(name) => setDeleting({ name, opened: true })} />,
      width: 40,
      align: "right",
    },
  ];
  async function remove(name: string) {
    await unwrap(client.DELETE("/api/2.0/serving-endpoints/{name}", { params: { path: { name } } }));
    await refreshEndpoint(name);
    notifyDone(t("delete.done", { name }));
  }
  return (
    <>
      <DataTable columns={columns} rows={endpoints} rowKey={(endpoint) => endpoint.id} label={t("title")} empty={empty} defaultSort="-modified" />
      <ConfirmModal
        opened={deleting.opened}
        close={() => setDeleting({ ...deleting, opened: false })}
        title={t("delete.title", { name: deleting.name })}
        action={t("common:delete")}
        typed={deleting.name}
        run={() => remove(deleting.name)}
      >
        {t("delete.warning")}
      </ConfirmModal>
    </>
  );
}
