import { Box, Button, Grid, Group, ScrollArea, Stack, Text, Title } from "@mantine/core";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { ChatComposer } from "./ChatComposer";
import { ChatSettingsForm } from "./ChatSettingsForm";
import { ChatTurn } from "./ChatTurn";
import { CodeSection } from "./CodeSection";
import { CHAT_SETTINGS, chatBody, openCalls, type Turn } from "./conversation";
import { endpointUrl } from "./invoke";
import { readJson } from "./jsonText";
import type { PlaygroundProps } from "./playground";
import { ToolResults } from "./ToolResults";
import { useConversation } from "./useConversation";
import { useKept } from "./useKept";

const FIRST_QUESTION: Turn[] = [{ role: "user", content: "Hello" }];

/** A conversation with a chat model. */
export function ChatPlayground({ endpoint, entity, select }: PlaygroundProps) {
  const { t } = useTranslation("query");
  const { name } = endpoint;
  const [settings, setSettings] = useKept(`chat ${name}`, CHAT_SETTINGS);
  const [explain, setExplain] = useKept("explain", false);
  // OpenAI's route makes agents of any kind speak as chat models do; it cannot name a served entity.
  const url = entity === null ? "/serving-endpoints/chat/completions" : endpointUrl(name, entity);
  const more = entity === null ? { model: name } : {};
  const { turns, busy, ask, stop, clear, again } = useConversation({ key: name, url, more, settings, explain });
  const toolsProblem = settings.tools.trim() ? readJson(settings.tools).problem : undefined;
  const calls = busy ? [] : openCalls(turns);
  const mayWake = endpoint.config?.served_entities.some((one) => one.scale_to_zero_enabled) ?? false;
  const viewport = useStickyEnd(turns);
  const asked = turns.at(-1)?.role === "assistant" ? turns.slice(0, -1) : turns;
  const tools = settings.tools.trim() && toolsProblem === undefined ? readJson(settings.tools).value : undefined;
  const tryAgain = () => void again();
  const say = (content: string) => void ask([...turns, { role: "user", content }]);

  return (
    <Stack gap="lg">
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, md: 8 }}>
          <Stack gap="xs" component="section" aria-label={t("chat.title")}>
            <Group justify="space-between" gap="xs" mih={30}>
              <Title order={2}>{t("chat.title")}</Title>
              {turns.length > 0 && (
                <Button size="xs" variant="default" onClick={clear}>
                  {t("common:clear")}
                </Button>
              )}
            </Group>
            <Box bd="1px solid var(--mantine-color-default-border)" style={{ borderRadius: "var(--mantine-radius-sm)" }}>
              <ScrollArea
                h={440}
                scrollbars="y"
                viewportRef={viewport}
                viewportProps={{ role: "log", "aria-live": "polite", "aria-busy": busy, "aria-label": t("chat.messages"), tabIndex: 0 }}
              >
                <Stack gap="md" p="sm">
                  {turns.length === 0 && (
                    <Text size="sm" c="dimmed" ta="center" py={120}>
                      {t("chat.none", { name })}
                    </Text>
                  )}
                  {turns.map((turn, at) => (
                    <ChatTurn key={at} turn={turn} mayWake={mayWake} retry={at === turns.length - 1 && !busy ? tryAgain : undefined} />
                  ))}
                </Stack>
              </ScrollArea>
            </Box>
            {calls.length > 0 ? (
              <ToolResults key={turns.length} calls={calls} send={(results) => void ask([...turns, ...results])} />
            ) : (
              <ChatComposer busy={busy} blocked={toolsProblem !== undefined} draftKey={name} stop={stop} send={say} />
            )}
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}>
          <ChatSettingsForm settings={settings} onChange={setSettings} explain={explain} onExplain={setExplain} toolsProblem={toolsProblem}>
            {select}
          </ChatSettingsForm>
        </Grid.Col>
      </Grid>
      <CodeSection
        path={endpointUrl(name, entity)}
        body={chatBody(settings, asked.length > 0 ? asked : FIRST_QUESTION, tools)}
        endpoint={name}
        toEntity={entity !== null}
        task="llm/v1/chat"
      />
    </Stack>
  );
}

/** Keeps the end in sight while it grows, unless somebody has scrolled up to read. */
function useStickyEnd(turns: Turn[]) {
  const viewport = useRef<HTMLDivElement>(null);
  const count = useRef(0);
  useEffect(() => {
    const box = viewport.current;
    if (!box) return;
    const added = turns.length > count.current;
    count.current = turns.length;
    // What has just been added is at most this much higher than what was in sight.
    if (added || box.scrollHeight - box.scrollTop - box.clientHeight < 120) box.scrollTop = box.scrollHeight;
  }, [turns]);
  return viewport;
}
