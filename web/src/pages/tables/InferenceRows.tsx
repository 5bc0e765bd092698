import { Anchor, Button, Group, Stack, Switch, Text } from "@mantine/core";
import { IconRefresh } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { EndpointDetail, InferenceTableRow } from "../../api/schema";
import { Cut } from "../../components/Cut";
import { type Column, DataTable } from "../../components/DataTable";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { StatusCode } from "../../components/StatusCode";
import { Time } from "../../components/Time";
import { useUrlPatch, useUrlValue } from "../../components/UrlSearch";
import { useConfigVersions } from "../endpoint/useConfigVersions";
import { namesOf } from "../logs/servedEntities";
import { durationText } from "./duration";
import { isStatus, RowFilters } from "./RowFilters";
import { RowDrawer } from "./RowDrawer";
import { FILTER_NAMES, useInferenceRows } from "./useInferenceTable";

// A body may be a megabyte; a row of the table shows how it begins.
const PREVIEW_CHARACTERS = 120;
const beginning = (body: string | null | undefined) => body?.slice(0, PREVIEW_CHARACTERS);

/** The last rows of an inference table, filtered by what is in the page's address; each opens in full. */
export function InferenceRows({ endpoint, table }: { endpoint: EndpointDetail; table: string }) {
  const { t, i18n } = useTranslation(["observe", "common"]);
  const patch = useUrlPatch();
  const versions = useConfigVersions(endpoint);
  const [status] = useUrlValue("status");
  const [entity] = useUrlValue("entity");
  const [requester] = useUrlValue("requester");
  const [request] = useUrlValue("request");
  const [clientRequest] = useUrlValue("client_request");
  const [from] = useUrlValue("from");
  const [to] = useUrlValue("to");
  const [live] = useUrlValue("live");
  const [opened, open] = useUrlValue("row");

  const older = isOlder(endpoint, table);
  const rows = useInferenceRows(
    endpoint.name,
    {
      table,
      status: isStatus(status) ? status : "",
      entity: older ? "" : entity,
      requester: older ? "" : requester,
      request,
      clientRequest,
      from,
      to,
    },
    live === "1",
  );
  const found = rows.data?.pages.flatMap((page) => page.rows);
  const filtered = [status, entity, requester, request, clientRequest, from, to].some(Boolean);

  const newerColumns: Column<InferenceTableRow>[] = [
    { key: "entity", title: t("table.entity"), width: 120, cell: (row) => <Cut text={row.served_entity_name} /> },
    { key: "requester", title: t("table.requester"), width: 130, cell: (row) => <Cut text={row.requester} /> },
  ];
  const columns: Column<InferenceTableRow>[] = [
    {
      key: "time",
      title: t("table.time"),
      width: 190,
      cell: (row) => (
        <Anchor component="button" type="button" size="sm" ta="left" onClick={() => open(row.databricks_request_id)}>
          <Time at={row.request_time} />
        </Anchor>
      ),
    },
    { key: "status", title: t("table.statusCode"), width: 100, cell: (row) => <StatusCode code={row.status_code} /> },
    ...(older ? [] : newerColumns),
    {
      key: "duration",
      title: t("table.duration"),
      width: 110,
      align: "right",
      cell: (row) => durationText(row, i18n.language),
    },
    { key: "request", title: t("table.request"), cell: (row) => <Cut text={beginning(row.request)} mono width="max(200px, 17vw)" /> },
    { key: "response", title: t("table.response"), cell: (row) => <Cut text={beginning(row.response)} mono width="max(150px, 14vw)" /> },
  ];
  return (
    <Stack gap="sm">
      <RowFilters entities={namesOf(versions.data)} older={older} />
      <Group gap="md">
        <Button
          variant="default"
          size="xs"
          leftSection={<IconRefresh size={14} />}
          loading={rows.isFetching && !rows.isFetchingNextPage && live !== "1"}
          onClick={() => void rows.refetch()}
        >
          {t("common:refresh")}
        </Button>
        <Switch
          size="xs"
          label={t("table.live")}
          checked={live === "1"}
          onChange={(event) => patch({ live: event.currentTarget.checked ? "1" : "" })}
        />
        {filtered && (
          <Button variant="subtle" size="xs" onClick={() => patch(Object.fromEntries(FILTER_NAMES.map((name) => [name, ""])))}>
            {t("clearFilters")}
          </Button>
        )}
        {found && (
          <Text size="sm" c="dimmed" ml="auto" role="status">
            {t(rows.hasNextPage ? "table.loadedMore" : "table.loaded", { count: found.length })}
          </Text>
        )}
      </Group>
      {rows.isError && !rows.isFetchNextPageError && !found ? (
        <ErrorPanel error={rows.error} retry={() => void rows.refetch()} />
      ) : (
        <DataTable
          label={t("table.title")}
          columns={columns}
          rows={found}
          rowKey={(row) => row.databricks_request_id + row.request_time}
          pageSize={Number.MAX_SAFE_INTEGER}
          empty={
            filtered ? (
              <EmptyState title={t("table.noneFound")} />
            ) : (
              <EmptyState title={t("table.none")}>{t("table.noneHint")}</EmptyState>
            )
          }
        />
      )}
      {rows.hasNextPage && (
        <Group justify="center">
          <Button variant="default" size="xs" loading={rows.isFetchingNextPage} onClick={() => void rows.fetchNextPage()}>
            {t("loadMore")}
          </Button>
        </Group>
      )}
      <RowDrawer
        endpoint={endpoint.name}
        table={table}
        requestId={opened}
        row={found?.find((row) => row.databricks_request_id === opened)}
        close={() => open("")}
      />
    </Stack>
  );
}

/** Whether the table is that of `auto_capture_config`, which has fewer columns. */
function isOlder(endpoint: EndpointDetail, table: string): boolean {
  const capture = endpoint.config?.auto_capture_config ?? endpoint.pending_config?.auto_capture_config;
  if (!capture?.catalog_name || !capture.schema_name) return false;
  const older = `${capture.catalog_name}.${capture.schema_name}.${capture.table_name_prefix || endpoint.name}_payload`;
  const gateway = endpoint.ai_gateway?.inference_table_config;
  const newer = gateway && `${gateway.catalog_name}.${gateway.schema_name}.${gateway.table_name_prefix || endpoint.name}_payload`;
  return table === older && table !== newer;
}
