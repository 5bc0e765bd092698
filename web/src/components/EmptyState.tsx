import { Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";

/** What a page says instead of an empty list: what would be here, and the way to get it. */
export function EmptyState({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py="xl">
      <Title order={2} size="h3">{title}</Title>
      {children && (
        <Text c="dimmed" size="sm" ta="center" maw={520} component="div">
          {children}
        </Text>
      )}
      {action}
    </Stack>
  );
}
