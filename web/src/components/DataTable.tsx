import { Box, Center, Group, Pagination, ScrollArea, Skeleton, Table, Text, UnstyledButton, VisuallyHidden } from "@mantine/core";
import { IconArrowDown, IconArrowUp, IconSelector } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "react-router";
import { addressNow } from "./UrlSearch";

export interface Column<Row> {
  /** Of the column in the page's address. */
  key: string;
  title: string;
  /** The title is for the reader of the screen only: a column of buttons. */
  titleHidden?: boolean;
  cell: (row: Row) => ReactNode;
  /** What the column is sorted by; without it, it is not. */
  sortBy?: (row: Row) => string | number;
  /** That the server sorts by it; only with `total`. */
  sortedByServer?: boolean;
  width?: number | string;
  /** The column shrinks down to this many pixels; what is in its cells must bear being cut. Without it, it is as wide as its longest cell. */
  minWidth?: number;
  align?: "left" | "right" | "center";
}

interface Props<Row> {
  columns: Column<Row>[];
  rows: Row[] | undefined;
  rowKey: (row: Row) => string;
  /** What the table shows, for the reader of the screen. */
  label: string;
  /** Instead of no rows. */
  empty: ReactNode;
  /** The order when the page's address says none: a column's key, with "-" before it from the highest down. */
  defaultSort?: string;
  /** Before the names in the page's address, where a page has several tables. */
  prefix?: string;
  pageSize?: number;
  /** How many rows there are where the server sorts and pages them: then `rows` are those of the page. */
  total?: number;
}

const PAGE = 50;

function isSortable<Row>(column: Column<Row>): boolean {
  return column.sortBy !== undefined || column.sortedByServer === true;
}

/** A dense table whose order and page are in the page's address (`sort`, `page`). While `rows` are undefined it is a skeleton. */
export function DataTable<Row>({ columns, rows, rowKey, label, empty, defaultSort, prefix = "", pageSize = PAGE, total }: Props<Row>) {
  const { t, i18n } = useTranslation();
  const [params, setParams] = useSearchParams();
  const sort = params.get(`${prefix}sort`) ?? defaultSort ?? "";
  const descending = sort.startsWith("-");
  const sorted = columns.find((column) => column.key === sort.replace(/^-/, "") && isSortable(column));
  const count = total ?? rows?.length ?? 0;
  const pages = Math.max(1, Math.ceil(count / pageSize));
  const page = Math.min(Math.max(1, Number(params.get(`${prefix}page`)) || 1), pages);

  function set(name: string, value: string | null) {
    setParams(
      () => {
        const next = addressNow();
        if (value === null) next.delete(prefix + name);
        else next.set(prefix + name, value);
        if (name === "sort") next.delete(`${prefix}page`);
        return next;
      },
      { replace: true },
    );
  }

  let shown = rows ?? [];
  if (sorted?.sortBy) {
    const by = sorted.sortBy;
    const collator = new Intl.Collator(i18n.language, { numeric: true });
    const order = (a: Row, b: Row) => {
      const [x, y] = [by(a), by(b)];
      return typeof x === "number" && typeof y === "number" ? x - y : collator.compare(String(x), String(y));
    };
    shown = [...shown].sort((a, b) => (descending ? order(b, a) : order(a, b)));
  }
  if (total === undefined) shown = shown.slice((page - 1) * pageSize, page * pageSize);

  if (rows && rows.length === 0) return <>{empty}</>;
  return (
    <>
      <ScrollArea type="auto" offsetScrollbars="present" viewportProps={{ tabIndex: 0, role: "group", "aria-label": label }}>
        <Table highlightOnHover aria-label={label} aria-busy={!rows}>
          <Table.Thead>
            <Table.Tr>
              {columns.map((column) => {
                const current = sorted?.key === column.key;
                const direction = current ? (descending ? "descending" : "ascending") : "none";
                return (
                  <Table.Th key={column.key} w={column.width} ta={column.align} style={{ whiteSpace: "nowrap" }} aria-sort={isSortable(column) ? direction : undefined}>
                    {isSortable(column) ? (
                      <UnstyledButton fz="sm" fw={600} onClick={() => set("sort", current && !descending ? `-${column.key}` : column.key)}>
                        <Group gap={2} wrap="nowrap" component="span">
                          {column.title}
                          {current ? descending ? <IconArrowDown size={13} /> : <IconArrowUp size={13} /> : <IconSelector size={13} />}
                        </Group>
                      </UnstyledButton>
                    ) : column.titleHidden ? (
                      <VisuallyHidden>{column.title}</VisuallyHidden>
                    ) : (
                      column.title
                    )}
                  </Table.Th>
                );
              })}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {!rows
              ? Array.from({ length: 5 }, (_, index) => (
                  <Table.Tr key={index}>
                    {columns.map((column) => (
                      <Table.Td key={column.key}>
                        <Skeleton height={14} my={4} />
                      </Table.Td>
                    ))}
                  </Table.Tr>
                ))
              : shown.map((row) => (
                  <Table.Tr key={rowKey(row)}>
                    {columns.map((column) => (
                      <Table.Td key={column.key} ta={column.align} maw={360}>
                        {column.minWidth === undefined ? (
                          column.cell(row)
                        ) : (
                          <Box miw={column.minWidth} style={{ contain: "inline-size" }}>
                            {column.cell(row)}
                          </Box>
                        )}
                      </Table.Td>
                    ))}
                  </Table.Tr>
                ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      {rows && pages > 1 && (
        <Center mt="sm">
          <Group gap="md">
            <Text size="sm" c="dimmed">
              {t("table.count", { count })}
            </Text>
            <Pagination
              size="sm"
              total={pages}
              value={page}
              onChange={(to) => set("page", to === 1 ? null : String(to))}
              getControlProps={(control) => ({ "aria-label": t(`table.${control}`) })}
              getItemProps={(item) => ({ "aria-label": t("table.page", { page: item }) })}
            />
          </Group>
        </Center>
      )}
    </>
  );
}
