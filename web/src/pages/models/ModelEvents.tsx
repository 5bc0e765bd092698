import { Button, Center, Group, ScrollArea, Select, Skeleton, Table, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { ModelEvent } from "../../api/schema";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { Time } from "../../components/Time";
import { useUrlValue } from "../../components/UrlSearch";
import { useModelEvents } from "./byStage";
import { Message } from "./Message";

const WHOLE = { whiteSpace: "nowrap" } as const;

interface Props {
  name: string;
  /** Of just this version. */
  version?: string;
  /** The versions that there are to choose from, where it is not of one. */
  versions?: string[];
  pending: boolean;
}

/** What happened to the serving of a model, or of one version, the newest first. */
export function ModelEvents({ name, version, versions, pending }: Props) {
  const { t } = useTranslation(["models", "common"]);
  const [chosen, choose] = useUrlValue("of");
  const of = version ?? chosen;
  const events = useModelEvents(name, of, pending);
  const rows = events.data?.pages.flatMap((page) => page.events);
  const choices = chosen && !versions?.includes(chosen) ? [...(versions ?? []), chosen] : (versions ?? []);
  return (
    <>
      {version === undefined && (
        <Group mb="sm">
          <Select
            aria-label={t("events.of")}
            data={[{ value: "", label: t("events.all") }, ...choices.map((one) => ({ value: one, label: t("version", { version: one }) }))]}
            value={chosen}
            onChange={(value) => choose(value ?? "")}
            allowDeselect={false}
            w={180}
          />
        </Group>
      )}
      {events.isError && !rows && <ErrorPanel error={events.error} retry={() => void events.refetch()} />}
      {!rows && !events.isError && <Skeleton height={120} />}
      {rows?.length === 0 && <EmptyState title={t("events.none")} />}
      {rows && rows.length > 0 && (
        <ScrollArea type="auto">
          <Table
            aria-label={t(version === undefined ? "view.events" : "detail.events")}
            highlightOnHover
            styles={{ td: { verticalAlign: "top" } }}
          >
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t("events.time")}</Table.Th>
                {version === undefined && <Table.Th style={WHOLE}>{t("column.version")}</Table.Th>}
                <Table.Th>{t("events.type")}</Table.Th>
                <Table.Th style={WHOLE}>{t("column.status")}</Table.Th>
                <Table.Th>{t("events.message")}</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {keyed(rows).map(({ key, event }) => (
                <Table.Tr key={key}>
                  <Table.Td>
                    <Time at={event.timestamp} />
                  </Table.Td>
                  {version === undefined && <Table.Td>{event.endpoint_version_name ?? "–"}</Table.Td>}
                  <Table.Td className="mono" style={WHOLE}>
                    {event.event_type}
                  </Table.Td>
                  <Table.Td style={WHOLE}>
                    <Text span inherit c={/FAIL|ERROR/.test(event.status) ? "var(--mantine-color-error)" : undefined}>
                      {event.status}
                    </Text>
                  </Table.Td>
                  <Table.Td miw={320}>
                    <Message text={event.message} />
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </ScrollArea>
      )}
      {events.hasNextPage && (
        <Center mt="sm">
          <Button variant="default" size="xs" loading={events.isFetchingNextPage} onClick={() => void events.fetchNextPage()}>
            {t("events.older")}
          </Button>
        </Center>
      )}
    </>
  );
}

/** Events have no id, and two may be alike in all that is told of them. */
function keyed(events: ModelEvent[]): { key: string; event: ModelEvent }[] {
  const seen = new Map<string, number>();
  return events.map((event) => {
    const told = JSON.stringify(event);
    const before = seen.get(told) ?? 0;
    seen.set(told, before + 1);
    return { key: `${told} ${before}`, event };
  });
}
