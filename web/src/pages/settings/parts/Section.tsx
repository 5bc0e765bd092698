import { Group, Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";

/** A part of a tab: its heading, what it is about, and what can be done in it, on the right. */
export function Section({ title, hint, actions, children }: { title: string; hint?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <Stack gap="xs" component="section" mb="xl">
      <Group justify="space-between" gap="sm" align="flex-end">
        <Stack gap={2} miw={0} style={{ flex: "1 1 16rem" }}>
          <Title order={2} className="cut" title={title}>
            {title}
          </Title>
          {hint && (
            <Text size="sm" c="dimmed" maw={760} component="div">
              {hint}
            </Text>
          )}
        </Stack>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}
