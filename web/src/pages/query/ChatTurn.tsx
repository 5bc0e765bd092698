import { Stack, Text } from "@mantine/core";
import { memo } from "react";
import { useTranslation } from "react-i18next";
import { CodeBlock } from "../../components/Copy";
import type { Turn } from "./conversation";
import { ReplyView } from "./ReplyView";

/** One message of a conversation. */
export const ChatTurn = memo(function ChatTurn({ turn, mayWake, retry }: { turn: Turn; mayWake: boolean; retry?: () => void }) {
  const { t } = useTranslation("query");
  return (
    <Stack gap={2} component="article" aria-label={t(`chat.${turn.role}`)}>
      <Text size="xs" fw={600} c="dimmed">
        {turn.role === "tool" ? t("chat.toolResult", { name: turn.call.name }) : t(`chat.${turn.role}`)}
      </Text>
      {turn.role === "user" && (
        <Text size="md" style={{ whiteSpace: "pre-wrap" }}>
          {turn.content}
        </Text>
      )}
      {turn.role === "tool" && <CodeBlock code={turn.content} label={t("chat.toolResult", { name: turn.call.name })} maxHeight={200} />}
      {turn.role === "assistant" && <ReplyView outcome={turn.outcome} mayWake={mayWake} retry={retry} />}
    </Stack>
  );
});
