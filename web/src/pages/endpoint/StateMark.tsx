import { Group, Loader, Text } from "@mantine/core";
import { IconCircleCheckFilled, IconCircleMinus, IconCircleXFilled, IconRefresh } from "@tabler/icons-react";

export type Tone = "good" | "busy" | "bad" | "recovering" | "off";

function Icon({ tone }: { tone: Tone }) {
  switch (tone) {
    case "good":
      return <IconCircleCheckFilled size={15} color="var(--mantine-color-green-7)" aria-hidden />;
    case "busy":
      return <Loader size={13} aria-hidden />;
    case "bad":
      return <IconCircleXFilled size={15} color="var(--mantine-color-red-7)" aria-hidden />;
    case "recovering":
      return <IconRefresh size={15} color="var(--mantine-color-orange-7)" aria-hidden />;
    case "off":
      return <IconCircleMinus size={15} color="var(--mantine-color-gray-6)" aria-hidden />;
  }
}

/** The state of a part of an endpoint: a shape, a colour and a word. */
export function StateMark({ tone, word, title }: { tone: Tone; word: string; title?: string }) {
  return (
    <Group gap={6} wrap="nowrap" title={title}>
      <Icon tone={tone} />
      <Text inherit component="span" style={{ whiteSpace: "nowrap" }}>
        {word}
      </Text>
    </Group>
  );
}
