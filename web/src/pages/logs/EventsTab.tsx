import { Box, Button, Group, Select, Stack, Text, Title, VisuallyHidden } from "@mantine/core";
import { IconAlertTriangle, IconCircleCheck, IconCircleXFilled } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { EndpointDetail, EventOutput } from "../../api/schema";
import { Cut } from "../../components/Cut";
import { type Column, DataTable } from "../../components/DataTable";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { Time } from "../../components/Time";
import { UrlSearch, useUrlPatch, useUrlValue } from "../../components/UrlSearch";
import { useConfigVersions } from "../endpoint/useConfigVersions";
import { EventMessage } from "./EventMessage";
import { FollowStatus } from "./FollowStatus";
import { namesOf } from "./servedEntities";
import { useEvents, useEventTypes } from "./useEvents";

/** Everything of note that happened to an endpoint, newest first, as it happens. */
export default function EventsTab({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["observe", "common"]);
  const patch = useUrlPatch();
  const [entity] = useUrlValue("entity");
  const [type] = useUrlValue("type");
  const [text] = useUrlValue("q");
  const versions = useConfigVersions(endpoint);
  const types = useEventTypes(endpoint.name);
  const { pages, events, state } = useEvents(endpoint.name, { entity, type });
  const shown = events.filter((event) => contains(event, text));

  const columns: Column<EventOutput>[] = [
    { key: "time", title: t("events.time"), width: 190, cell: (event) => <Time at={event.timestamp} /> },
    {
      key: "type",
      title: t("events.type"),
      width: 270,
      cell: (event) => (
        <Box component="span" className="mono" title={event.trigger} style={{ whiteSpace: "nowrap" }}>
          {event.event_type}
        </Box>
      ),
    },
    { key: "entity", title: t("events.entity"), width: 150, cell: (event) => <Cut text={event.served_entity_name} /> },
    { key: "status", title: t("events.status"), width: 120, cell: (event) => <EventStatus status={event.status} /> },
    {
      key: "message",
      title: t("events.message"),
      cell: (event) => (
        <Box miw={220}>
          <EventMessage event={event} />
        </Box>
      ),
    },
  ];
  const filtered = !!(entity || type || text);
  return (
    <Stack gap="sm">
      <VisuallyHidden>
        <Title order={2}>{t("events.title")}</Title>
      </VisuallyHidden>
      <Group gap="sm" wrap="wrap">
        <UrlSearch label={t("events.search")} />
        <Select
          aria-label={t("events.entity")}
          w={230}
          value={entity}
          allowDeselect={false}
          onChange={(value) => patch({ entity: value ?? "" })}
          data={[{ value: "", label: t("events.allEntities") }, ...withChosen(namesOf(versions.data), entity)]}
        />
        <Select
          aria-label={t("events.type")}
          value={type}
          allowDeselect={false}
          searchable
          w={270}
          onChange={(value) => patch({ type: value ?? "" })}
          data={[{ value: "", label: t("events.allTypes") }, ...withChosen(types.data ?? [], type)]}
        />
        <Box ml="auto">
          <FollowStatus state={state} />
        </Box>
      </Group>
      {pages.isError && !pages.data ? (
        <ErrorPanel error={pages.error} retry={() => void pages.refetch()} />
      ) : (
        <DataTable
          label={t("events.title")}
          columns={columns}
          rows={pages.data && shown}
          rowKey={(event) => String(event.id)}
          pageSize={Number.MAX_SAFE_INTEGER}
          empty={
            filtered ? (
              <EmptyState
                title={t("events.noneFound")}
                action={
                  <Button variant="default" size="xs" onClick={() => patch({ entity: "", type: "", q: "" })}>
                    {t("clearFilters")}
                  </Button>
                }
              >
                {pages.hasNextPage && t("events.olderNotSearched")}
              </EmptyState>
            ) : (
              <EmptyState title={t("events.none")}>{t("events.noneHint")}</EmptyState>
            )
          }
        />
      )}
      {pages.hasNextPage && (
        <Group justify="center" gap="md">
          <Text size="sm" c="dimmed">
            {t("events.loaded", { count: events.length })}
          </Text>
          <Button variant="default" size="xs" loading={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>
            {t("loadMore")}
          </Button>
        </Group>
      )}
    </Stack>
  );
}

function contains(event: EventOutput, text: string): boolean {
  const wanted = text.toLowerCase();
  return [event.message, event.event_type, event.trigger, event.served_entity_name ?? ""].some((one) => one.toLowerCase().includes(wanted));
}

function withChosen(choices: string[], chosen: string): string[] {
  return !chosen || choices.includes(chosen) ? choices : [...choices, chosen];
}

function EventStatus({ status }: { status: string }) {
  const icons: Record<string, ReactNode> = {
    SUCCESS: <IconCircleCheck size={15} color="var(--mantine-color-green-7)" aria-hidden />,
    FAILED: <IconCircleXFilled size={15} color="var(--mantine-color-red-7)" aria-hidden />,
    WARNING: <IconAlertTriangle size={15} color="var(--mantine-color-orange-7)" aria-hidden />,
  };
  return (
    <Group gap={5} wrap="nowrap">
      {icons[status]}
      <span>{status}</span>
    </Group>
  );
}
