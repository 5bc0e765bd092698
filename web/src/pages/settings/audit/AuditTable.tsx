import { ActionIcon, Tooltip } from "@mantine/core";
import { IconListDetails } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { AuditEntry } from "../../../api/schema";
import { Cut } from "../../../components/Cut";
import { type Column, DataTable } from "../../../components/DataTable";
import { StatusCode } from "../../../components/StatusCode";
import { Time } from "../../../components/Time";

interface Props {
  entries: AuditEntry[] | undefined;
  show: (entry: AuditEntry) => void;
  empty: ReactNode;
}

export function AuditTable({ entries, show, empty }: Props) {
  const { t } = useTranslation("settings");
  const columns: Column<AuditEntry>[] = [
    { key: "time", title: t("audit.time"), sortBy: (entry) => entry.id, cell: (entry) => <Time at={entry.timestamp} /> },
    {
      key: "user",
      title: t("audit.user_name"),
      width: "20%",
      minWidth: 110,
      sortBy: (entry) => entry.user_name,
      cell: (entry) => <Cut width="100%" text={entry.user_name} />,
    },
    {
      key: "action",
      title: t("audit.action"),
      width: "22%",
      minWidth: 130,
      sortBy: (entry) => entry.action,
      cell: (entry) => <Cut width="100%" text={entry.action} mono />,
    },
    {
      key: "type",
      title: t("audit.object_type"),
      width: "16%",
      minWidth: 110,
      sortBy: (entry) => entry.object_type,
      cell: (entry) => <Cut width="100%" text={entry.object_type} />,
    },
    {
      key: "object",
      title: t("audit.object_id"),
      width: "28%",
      minWidth: 120,
      sortBy: (entry) => entry.object_id,
      cell: (entry) => <Cut width="100%" text={entry.object_id} />,
    },
    { key: "status", title: t("status"), sortBy: (entry) => entry.status, cell: (entry) => <StatusCode code={entry.status} /> },
    {
      key: "details",
      title: t("actions"),
      titleHidden: true,
      align: "right",
      cell: (entry) => (
        <Tooltip label={t("audit.details")}>
          <ActionIcon
            variant="subtle"
            color="gray"
            size="sm"
            onClick={() => show(entry)}
            aria-label={t("audit.detailsOf", { action: entry.action, object: entry.object_id })}
          >
            <IconListDetails size={16} />
          </ActionIcon>
        </Tooltip>
      ),
    },
  ];
  return (
    <DataTable
      columns={columns}
      rows={entries}
      rowKey={(entry) => String(entry.id)}
      label={t("tabs.audit")}
      defaultSort="-time"
      pageSize={Math.max(1, entries?.length ?? 1)}
      empty={empty}
    />
  );
}
