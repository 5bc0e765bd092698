import { Box, Group, Text } from "@mantine/core";
import type { ReactNode } from "react";

/** One thing that is known of an answer: its name and its value, on one line. */
export function Fact({ label, children }: { label: string; children: ReactNode }) {
  return (
    <Group gap={4} wrap="nowrap" miw={0} maw="100%">
      <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>
        {label}
      </Text>
      <Box fz="xs" miw={0}>
        {children}
      </Box>
    </Group>
  );
}
