import { Anchor, Button, Center, Group, Modal } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "react-router";
import { client, unwrap } from "../../../api/client";
import type { AuditEntry } from "../../../api/schema";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { useDirectory } from "../identity/directory";
import { type Range, RangePicker, useRange } from "../parts/RangePicker";
import { Section } from "../parts/Section";
import { useTarget } from "../parts/useTarget";
import { AuditEntryView } from "./AuditEntryView";
import { AuditTable } from "./AuditTable";
import { FilterInput } from "./FilterInput";

const FILTERS = ["user_name", "action", "object_type", "object_id"] as const;
const RANGES: Range[] = ["all", "1h", "24h", "7d", "30d", "custom"];
const AT_ONCE = 100;

export default function AuditTab() {
  const { t } = useTranslation(["settings", "common"]);
  const [params, setParams] = useSearchParams();
  const range = useRange("all");
  const directory = useDirectory();
  const shown = useTarget<AuditEntry>();
  const wanted = Object.fromEntries(FILTERS.flatMap((name) => (params.get(name) ? [[name, params.get(name)]] : [])));
  const filtered = Object.keys(wanted).length > 0 || range.range !== "all";

  const log = useInfiniteQuery({
    queryKey: ["audit", wanted, range.range, range.from, range.to],
    queryFn: ({ pageParam }) => {
      const { start, end } = range.span();
      const query = { ...wanted, start_time: start, end_time: end, page_size: AT_ONCE, page_token: pageParam };
      return unwrap(client.GET("/api/2.0/audit-log", { params: { query } }));
    },
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (page) => (page.next_page_token ? Number(page.next_page_token) : undefined),
  });
  const entries = log.data?.pages.flatMap((page) => page.entries);

  const { start, end } = range.span();
  const exported = new URLSearchParams({ ...wanted, ...(start && { start_time: String(start) }), ...(end && { end_time: String(end) }) });
  const suggestions = {
    user_name: directory.all.filter((one) => one.kind !== "group").map((one) => one.name),
    action: entries?.map((entry) => entry.action) ?? [],
    object_type: entries?.map((entry) => entry.object_type) ?? [],
    object_id: entries?.map((entry) => entry.object_id) ?? [],
  };

  return (
    <Section
      title={t("tabs.audit")}
      hint={t("audit.hint")}
      actions={
        <>
          <Button variant="default" onClick={() => void log.refetch()} loading={log.isRefetching}>
            {t("common:refresh")}
          </Button>
          <Button
            component="a"
            variant="default"
            href={`/api/2.0/audit-log/export?${exported}`}
            download="audit-log.jsonl"
            leftSection={<IconDownload size={15} />}
          >
            {t("audit.export")}
          </Button>
        </>
      }
    >
      <Group gap="xs" align="flex-end">
        <RangePicker value={range} ranges={RANGES} />
        {FILTERS.map((name) => (
          <FilterInput key={name} name={name} label={t(`audit.${name}`)} suggestions={suggestions[name]} />
        ))}
        {filtered && (
          <Anchor component="button" type="button" size="sm" pb={8} onClick={() => setParams({}, { replace: true })}>
            {t("audit.clear")}
          </Anchor>
        )}
      </Group>
      {log.isError && !log.isFetchNextPageError ? (
        <ErrorPanel error={log.error} retry={() => void log.refetch()} />
      ) : (
        <AuditTable
          entries={entries}
          show={shown.ask}
          empty={<EmptyState title={t(filtered ? "noMatch" : "audit.none")}>{t(filtered ? "audit.exact" : "audit.noneHint")}</EmptyState>}
        />
      )}
      {log.isFetchNextPageError && <ErrorPanel error={log.error} retry={() => void log.fetchNextPage()} />}
      {log.hasNextPage && (
        <Center>
          <Button variant="default" onClick={() => void log.fetchNextPage()} loading={log.isFetchingNextPage}>
            {t("audit.more")}
          </Button>
        </Center>
      )}
      <Modal
        opened={shown.opened}
        onClose={shown.close}
        size="lg"
        title={shown.target?.action}
        closeButtonProps={{ "aria-label": t("common:close") }}
      >
        {shown.target && <AuditEntryView entry={shown.target} />}
      </Modal>
    </Section>
  );
}
