import { Button, Group, Stack, Text, Textarea } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { namesOf, type Turn } from "./conversation";
import type { ToolCall } from "./reply";

/** What the tools would have answered: the model asked for it, and nobody else is there to say it. */
export function ToolResults({ calls, send }: { calls: ToolCall[]; send: (results: Turn[]) => void }) {
  const { t } = useTranslation("query");
  const [texts, setTexts] = useState<string[]>(() => calls.map(() => ""));
  const names = namesOf(calls);
  function submit(event: FormEvent) {
    event.preventDefault();
    send(calls.map((call, at) => ({ role: "tool", call, content: texts[at] ?? "" })));
  }
  return (
    <form onSubmit={submit}>
      <Stack gap="xs">
        <Text size="sm" c="dimmed">
          {t("chat.toolsWait")}
        </Text>
        {calls.map((call, at) => (
          <Textarea
            key={call.id || at}
            label={t("chat.toolResult", { name: names[at] })}
            autosize
            minRows={1}
            maxRows={8}
            value={texts[at] ?? ""}
            onChange={(event) => setTexts(texts.with(at, event.currentTarget.value))}
          />
        ))}
        <Group justify="flex-end">
          <Button type="submit">{t("chat.sendResults")}</Button>
        </Group>
      </Stack>
    </form>
  );
}
