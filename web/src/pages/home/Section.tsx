import { Anchor, Box, Group, ScrollArea, Table, Title } from "@mantine/core";
import { type ReactNode, useId } from "react";
import { Link } from "react-router";

/** A part of the front page under its title; `beside` is a link or a word next to that. */
export function Section({ title, beside, children }: { title: string; beside?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section aria-labelledby={id}>
      <Group gap="sm" mb="xs" align="baseline">
        <Title order={2} id={id}>
          {title}
        </Title>
        {beside}
      </Group>
      {children}
    </section>
  );
}

interface Frame {
  label: string;
  columns: string[];
  /** The columns, counted from 0, whose values are figures. */
  figures?: number[];
  children: ReactNode;
}

/** A short table that is neither sorted nor paged. */
export function TableFrame({ label, columns, figures = [], children }: Frame) {
  return (
    <ScrollArea type="auto" offsetScrollbars="present">
      <Table highlightOnHover aria-label={label}>
        <Table.Thead>
          <Table.Tr>
            {columns.map((column, index) => (
              <Table.Th key={column} ta={figures.includes(index) ? "right" : undefined} style={{ whiteSpace: "nowrap" }}>
                {column}
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>{children}</Table.Tbody>
      </Table>
    </ScrollArea>
  );
}

/** The cell of an endpoint's name, which gives way to the others: it is cut before the table is wider than its place. */
export function NameCell({ name, tab = "", width = "40%" }: { name: string; tab?: string; width?: string }) {
  return (
    <Table.Td w={width}>
      <Box miw={110} className="cut" style={{ contain: "inline-size" }}>
        <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(name)}${tab}`} size="sm" fw={600} title={name}>
          {name}
        </Anchor>
      </Box>
    </Table.Td>
  );
}
