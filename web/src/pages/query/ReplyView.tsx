import { Box, Button, Loader, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { CodeBlock } from "../../components/Copy";
import { namesOf } from "./conversation";
import { layOut, readJson } from "./jsonText";
import { ProblemAlert } from "./ProblemAlert";
import { hasSaid } from "./reply";
import { ReplyFacts } from "./ReplyFacts";
import { RouteExplanation } from "./RouteExplanation";
import type { Outcome } from "./streamReply";

/** What a model has said so far, and how that ended. `retry` is there for the last answer alone. */
export function ReplyView({ outcome, mayWake, retry }: { outcome: Outcome; mayWake?: boolean; retry?: () => void }) {
  const { t } = useTranslation("query");
  const { reply, state, head } = outcome;
  const names = namesOf(reply.toolCalls);
  const waiting = state === "waiting";
  return (
    <Stack gap={6}>
      {reply.reasoning && (
        <Box pl="sm" style={{ borderLeft: "2px solid var(--mantine-color-default-border)" }}>
          <Text size="xs" c="dimmed">
            {t("chat.reasoning")}
          </Text>
          <Text size="sm" c="dimmed" style={{ whiteSpace: "pre-wrap" }}>
            {reply.reasoning}
          </Text>
        </Box>
      )}
      {reply.toolCalls.map((call, at) => (
        <CodeBlock
          key={call.id || at}
          label={t("chat.toolCall", { name: names[at] })}
          code={`${call.name}(${pretty(call.arguments)})`}
          maxHeight={240}
        />
      ))}
      {reply.toolResults.map((result, at) => (
        <CodeBlock key={at} label={t("chat.toolResult", { name: result.name })} code={result.content} maxHeight={200} />
      ))}
      {reply.content && (
        <Text size="md" style={{ whiteSpace: "pre-wrap" }}>
          {reply.content}
        </Text>
      )}
      {waiting && (
        <Text size="sm" c="dimmed" component="div">
          <Loader size={12} mr={6} aria-hidden />
          {!hasSaid(reply) && t(mayWake ? "response.waking" : "response.busy")}
        </Text>
      )}
      {!waiting && !hasSaid(reply) && !reply.problem && state === "done" && (
        <Text size="sm" c="dimmed">
          {t("chat.empty")}
        </Text>
      )}
      {(state === "stopped" || state === "cut") && (
        <Text size="sm" c="dimmed">
          {t(`chat.${state}`)}
        </Text>
      )}
      {reply.problem && (
        <ProblemAlert problem={reply.problem}>
          {retry && (
            <Button size="xs" variant="default" onClick={retry} style={{ alignSelf: "flex-start" }}>
              {t("common:error.retry")}
            </Button>
          )}
        </ProblemAlert>
      )}
      {!waiting && <ReplyFacts outcome={outcome} />}
      {!waiting && head?.explanation && <RouteExplanation explanation={head.explanation} />}
    </Stack>
  );
}

function pretty(given: string): string {
  return readJson(given).problem === undefined ? layOut(given) : given;
}
