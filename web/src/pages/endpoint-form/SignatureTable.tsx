import { Skeleton, Stack, Table, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { errorText } from "../../components/confirm";
import type { Column } from "./signature";
import { useSignature } from "./useSignature";

/** What the model takes and gives, as it was logged. */
export function SignatureTable({ model, version }: { model: string; version: string }) {
  const { t } = useTranslation("form");
  const { data, error, isPending } = useSignature(model, version);
  if (isPending) return <Skeleton height={80} />;
  if (error) {
    return (
      <Text size="sm" c="dimmed">
        {t("signature.unreadable", { reason: errorText(error) })}
      </Text>
    );
  }
  if (!data) {
    return (
      <Text size="sm" c="dimmed">
        {t("signature.none")}
      </Text>
    );
  }
  return (
    <Stack gap="sm">
      <Columns title={t("signature.inputs")} columns={data.inputs} />
      <Columns title={t("signature.outputs")} columns={data.outputs} />
      {data.params.length > 0 && <Columns title={t("signature.params")} columns={data.params} withDefault />}
    </Stack>
  );
}

function Columns({ title, columns, withDefault }: { title: string; columns: Column[]; withDefault?: boolean }) {
  const { t } = useTranslation("form");
  if (!columns.length) return null;
  return (
    <Table.ScrollContainer
      minWidth={300}
      maxHeight={240}
      scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "region", "aria-label": title } }}
    >
      <Table captionSide="top" verticalSpacing={2} stickyHeader>
        <Table.Caption ta="left" mt={0} mb={2}>
          {title}
        </Table.Caption>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("signature.column")}</Table.Th>
            <Table.Th>{t("signature.type")}</Table.Th>
            {withDefault && <Table.Th>{t("signature.default")}</Table.Th>}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {columns.map((column, at) => (
            <Table.Tr key={column.name || at}>
              <Table.Td className="mono">{column.name || at}</Table.Td>
              <Table.Td className="mono">
                {column.type}
                {!column.required && ` (${t("signature.optional")})`}
              </Table.Td>
              {withDefault && <Table.Td className="mono">{column.defaultValue}</Table.Td>}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
