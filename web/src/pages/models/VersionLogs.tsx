import { Group, SegmentedControl, Select, Skeleton, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { ErrorPanel } from "../../components/ErrorPanel";
import { useUrlValue } from "../../components/UrlSearch";
import { LogViewer } from "../logs/LogViewer";
import { useVersionLog, useVersionReplicas } from "./byStage";

/** What a version printed: while it was made ready, or since, of all its replicas or of one. */
export function VersionLogs({ name, version, pending }: { name: string; version: string; pending: boolean }) {
  const { t } = useTranslation("models");
  const [chosen, setKind] = useUrlValue("log", "service");
  const [replica, setReplica] = useUrlValue("replica");
  const kind = chosen === "build" ? "build" : "service";
  const replicas = useVersionReplicas(name, version, pending);
  const ids = replicas.data?.map((one) => one.id) ?? [];
  // One that has gone may still have its log.
  const choices = replica && !ids.includes(replica) ? [...ids, replica] : ids;
  const log = useVersionLog(name, version, kind, kind === "service" ? replica : "", pending);
  const label = t(kind === "build" ? "logs.buildOf" : "logs.serviceOf", { version });
  return (
    <>
      <Group mb="sm" gap="sm">
        <SegmentedControl
          size="xs"
          aria-label={t("logs.kind")}
          value={kind}
          onChange={setKind}
          data={[
            { value: "service", label: t("logs.service") },
            { value: "build", label: t("logs.build") },
          ]}
        />
        {kind === "service" && (
          <Select
            size="xs"
            w={200}
            aria-label={t("logs.replica")}
            data={[{ value: "", label: t("logs.allReplicas") }, ...choices.map((id) => ({ value: id, label: id }))]}
            value={replica}
            onChange={(value) => setReplica(value ?? "")}
            allowDeselect={false}
          />
        )}
      </Group>
      {log.isError && log.data === undefined && <ErrorPanel error={log.error} retry={() => void log.refetch()} />}
      {log.data === undefined && !log.isError && <Skeleton height={160} />}
      {log.data !== undefined && (
        <LogViewer
          key={`${kind} ${replica}`}
          text={log.data}
          label={label}
          fileName={[name, `v${version}`, ...(kind === "service" && replica ? [replica] : []), `${kind}.log`].join("-")}
          height="22rem"
          empty={
            <Text size="sm" c="dimmed" p="sm">
              {t("logs.empty")}
            </Text>
          }
        />
      )}
    </>
  );
}
