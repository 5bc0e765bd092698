import { Box, Stack, Table, Text, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useFormats } from "./useFormats";
import { cosine } from "./vectors";

const FIRST_VALUES = 3;
const MOST_COMPARED = 20;
const NO_WRAP = { whiteSpace: "nowrap" } as const;

const scroller = (label: string) => ({ viewportProps: { tabIndex: 0, role: "region", "aria-label": label } });

/** The vectors of some texts, and how near each is to each other. */
export function VectorTables({ inputs, vectors }: { inputs: string[]; vectors: number[][] }) {
  const { t } = useTranslation("query");
  const { number, fixed } = useFormats();
  const compared = vectors.slice(0, MOST_COMPARED);
  return (
    <Stack gap="sm" miw={0}>
      <Table.ScrollContainer minWidth={440} scrollAreaProps={scroller(t("embed.vectors"))}>
        <Table withTableBorder>
          <Table.Thead>
            <Table.Tr>
              <Table.Th style={NO_WRAP}>{t("embed.number")}</Table.Th>
              <Table.Th style={NO_WRAP}>{t("embed.input")}</Table.Th>
              <Table.Th ta="right" style={NO_WRAP}>{t("embed.dimensions")}</Table.Th>
              <Table.Th style={NO_WRAP}>{t("embed.first")}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {vectors.map((vector, at) => (
              <Table.Tr key={at}>
                <Table.Td>{at + 1}</Table.Td>
                <Table.Td maw={180} className="cut" title={inputs[at]}>
                  {inputs[at]}
                </Table.Td>
                <Table.Td ta="right">{number(vector.length)}</Table.Td>
                <Table.Td style={NO_WRAP}>
                  <span className="mono">
                    {vector
                      .slice(0, FIRST_VALUES)
                      .map((value) => value.toFixed(3))
                      .join("  ")}
                    {vector.length > FIRST_VALUES && " …"}
                  </span>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      {compared.length > 1 && (
        <>
          <Title order={3}>{t("embed.similarity")}</Title>
          <Table.ScrollContainer minWidth={60 * (compared.length + 1)} scrollAreaProps={scroller(t("embed.similarity"))}>
            <Table withTableBorder withColumnBorders w="auto">
              <Table.Thead>
                <Table.Tr>
                  <Table.Td />
                  {compared.map((_, at) => (
                    <Table.Th key={at} ta="right" title={inputs[at]}>
                      {at + 1}
                    </Table.Th>
                  ))}
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {compared.map((one, row) => (
                  <Table.Tr key={row}>
                    <Table.Th scope="row" title={inputs[row]}>
                      <Box maw={200} className="cut">
                        {row + 1} {inputs[row]}
                      </Box>
                    </Table.Th>
                    {compared.map((other, column) => (
                      <Table.Td key={column} ta="right" c={row === column ? "dimmed" : undefined} className="mono" style={NO_WRAP}>
                        {fixed(cosine(one, other), 3)}
                      </Table.Td>
                    ))}
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
          {vectors.length > MOST_COMPARED && (
            <Text size="xs" c="dimmed">
              {t("embed.firstCompared", { count: MOST_COMPARED })}
            </Text>
          )}
        </>
      )}
    </Stack>
  );
}
