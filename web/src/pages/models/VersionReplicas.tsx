import { ScrollArea, Skeleton, Table, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { ErrorPanel } from "../../components/ErrorPanel";
import { duration, memory, percent } from "../../format";
import { useVersionReplicas } from "./byStage";

/** The processes that answer for a version. */
export function VersionReplicas({ name, version, pending }: { name: string; version: string; pending: boolean }) {
  const { t, i18n } = useTranslation("models");
  const replicas = useVersionReplicas(name, version, pending);
  if (replicas.isError && !replicas.data) return <ErrorPanel error={replicas.error} retry={() => void replicas.refetch()} />;
  if (!replicas.data) return <Skeleton height={80} />;
  if (replicas.data.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        {t("replicas.none")}
      </Text>
    );
  }
  return (
    <ScrollArea type="auto">
      <Table aria-label={t("detail.replicas")}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("replicas.id")}</Table.Th>
            <Table.Th>{t("column.status")}</Table.Th>
            <Table.Th ta="right">{t("replicas.age")}</Table.Th>
            <Table.Th ta="right">{t("replicas.memory")}</Table.Th>
            <Table.Th ta="right">{t("replicas.cpu")}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {replicas.data.map((replica) => (
            <Table.Tr key={replica.id}>
              <Table.Td className="mono">{replica.id}</Table.Td>
              <Table.Td>{replica.state}</Table.Td>
              <Table.Td ta="right">{duration(replica.age_seconds, i18n.language)}</Table.Td>
              <Table.Td ta="right">{replica.memory_bytes == null ? "–" : memory(replica.memory_bytes, i18n.language)}</Table.Td>
              <Table.Td ta="right">{replica.cpu_percentage == null ? "–" : percent(replica.cpu_percentage, i18n.language)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </ScrollArea>
  );
}
