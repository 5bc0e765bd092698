import { Alert, Drawer, Group, Skeleton, Stack, Table, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { InferenceTableRow } from "../../api/schema";
import { CopyableText, CopyIcon } from "../../components/Copy";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { JsonEditor } from "../../components/JsonEditor";
import { StatusCode } from "../../components/StatusCode";
import { Time } from "../../components/Time";
import { layOut, readJson } from "../query/jsonText";
import { durationText } from "./duration";
import { useInferenceRow } from "./useInferenceTable";

interface Props {
  endpoint: string;
  table: string;
  /** Of the request that is opened; empty for none. */
  requestId: string;
  /** What is known of it already. */
  row: InferenceTableRow | undefined;
  close: () => void;
}

/** One request and its answer in full. */
export function RowDrawer({ endpoint, table, requestId, row, close }: Props) {
  const { t } = useTranslation(["observe", "common"]);
  const asked = useInferenceRow(endpoint, table, requestId, requestId !== "" && !row);
  const shown = row ?? asked.data;
  return (
    <Drawer
      opened={requestId !== ""}
      onClose={close}
      position="right"
      size="xl"
      title={t("table.one")}
      closeButtonProps={{ "aria-label": t("common:close") }}
    >
      {shown ? (
        <RowInFull row={shown} />
      ) : asked.isError ? (
        <ErrorPanel error={asked.error} retry={() => void asked.refetch()} />
      ) : asked.data === null ? (
        <EmptyState title={t("table.notThere")}>{requestId}</EmptyState>
      ) : (
        <Skeleton height={200} />
      )}
    </Drawer>
  );
}

function RowInFull({ row }: { row: InferenceTableRow }) {
  const { t, i18n } = useTranslation("observe");
  const facts: [string, ReactNode][] = [
    [t("table.time"), <Time key="time" at={row.request_time} />],
    [t("table.statusCode"), <StatusCode key="status" code={row.status_code} />],
    [t("table.duration"), durationText(row, i18n.language)],
    [t("table.requestId"), <CopyableText key="id" value={row.databricks_request_id} label={t("table.copyRequestId")} />],
  ];
  if (row.client_request_id) facts.push([t("table.clientRequestId"), row.client_request_id]);
  if (row.served_entity_name ?? row.served_entity_id) facts.push([t("table.entity"), row.served_entity_name ?? row.served_entity_id]);
  if (row.requester) facts.push([t("table.requester"), row.requester]);
  if (row.sampling_fraction !== null && row.sampling_fraction !== undefined) {
    facts.push([t("table.sampling"), new Intl.NumberFormat(i18n.language).format(row.sampling_fraction)]);
  }
  return (
    <Stack gap="md">
      <Table variant="vertical" layout="fixed" aria-label={t("table.one")}>
        <Table.Tbody>
          {facts.map(([label, value]) => (
            <Table.Tr key={label}>
              <Table.Th w={160}>{label}</Table.Th>
              <Table.Td>{value}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      {!!row.logging_error_codes?.length && <Alert color="orange">{row.logging_error_codes.join(", ")}</Alert>}
      <Body title={t("table.request")} copy={t("table.copyRequest")} text={row.request} />
      <Body title={t("table.response")} copy={t("table.copyResponse")} text={row.response} />
    </Stack>
  );
}

function Body({ title, copy, text }: { title: string; copy: string; text: string | null | undefined }) {
  const { t } = useTranslation("observe");
  const json = readJson(text ?? "").problem === undefined;
  return (
    <Stack gap={4}>
      <Group justify="space-between">
        <Title order={3} fz="md">
          {title}
        </Title>
        {text && <CopyIcon value={text} label={copy} />}
      </Group>
      {text === null || text === undefined ? (
        <Text size="sm" c="dimmed">
          {t("table.notKept")}
        </Text>
      ) : (
        <JsonEditor
          value={json ? layOut(text) : text}
          label={title}
          language={json ? "json" : "text"}
          readOnly
          minHeight={60}
          maxHeight={480}
        />
      )}
    </Stack>
  );
}
