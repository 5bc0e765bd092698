import { Table } from "@mantine/core";
import type { ReactNode } from "react";

/** Names and values, one below the other. */
export function Facts({ rows, label }: { rows: { name: string; value: ReactNode }[]; label: string }) {
  return (
    <Table aria-label={label} maw={760} layout="fixed" withRowBorders={false} verticalSpacing={3}>
      <Table.Tbody>
        {rows.map(({ name, value }) => (
          <Table.Tr key={name}>
            <Table.Th scope="row" w={{ base: "7.5rem", sm: "12rem" }} c="dimmed" fw={400} pl={0} ta="left">
              {name}
            </Table.Th>
            <Table.Td>{value}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
