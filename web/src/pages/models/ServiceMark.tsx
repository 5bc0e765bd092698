import { Group, Loader, Text } from "@mantine/core";
import { IconCircleCheckFilled, IconCircleMinus, IconCircleXFilled } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { LegacyState, ServiceState } from "../../api/schema";
import { Message } from "./Message";

export type ServingWord = "ready" | "pending" | "failed" | "unknown";

const WORDS: Record<LegacyState | ServiceState, ServingWord> = {
  READY: "ready",
  PENDING: "pending",
  FAILED: "failed",
  SERVICE_STATE_READY: "ready",
  SERVICE_STATE_PENDING: "pending",
  SERVICE_STATE_FAILED: "failed",
  SERVICE_STATE_UNKNOWN: "unknown",
};

export function servingWord(state: LegacyState | ServiceState): ServingWord {
  return WORDS[state];
}

export function ServingIcon({ word, size = 16 }: { word: ServingWord; size?: number }) {
  switch (word) {
    case "ready":
      return <IconCircleCheckFilled size={size} color="var(--mantine-color-green-7)" aria-hidden />;
    case "pending":
      return <Loader size={size - 2} aria-hidden />;
    case "failed":
      return <IconCircleXFilled size={size} color="var(--mantine-color-red-7)" aria-hidden />;
    default:
      return <IconCircleMinus size={size} color="var(--mantine-color-gray-6)" aria-hidden />;
  }
}

/** How the serving of a model or of a version is: a shape, a colour and a word, and what the server says of it. */
export function ServiceMark({ state, message }: { state: LegacyState | ServiceState; message?: string }) {
  const { t } = useTranslation("models");
  const word = servingWord(state);
  return (
    <Group gap={6} wrap="nowrap" align="flex-start" miw={0} data-state={word}>
      <Group gap={6} wrap="nowrap" style={{ flexShrink: 0 }}>
        <ServingIcon word={word} />
        <Text size="sm" fw={500} style={{ whiteSpace: "nowrap" }}>
          {t(`state.${word}`)}
        </Text>
      </Group>
      {/* Of what is ready there is often nothing more to say than that. */}
      {message && message.toLowerCase() !== word && (
        <Message text={message} color={word === "failed" ? "var(--mantine-color-error)" : "dimmed"} />
      )}
    </Group>
  );
}
