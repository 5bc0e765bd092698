import { Button, Group, SimpleGrid, Stack, Switch, Text, Textarea, Title } from "@mantine/core";
import { type KeyboardEvent, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { SamplingFields } from "./ChatSettingsForm";
import { CodeSection } from "./CodeSection";
import { endpointUrl } from "./invoke";
import type { PlaygroundProps } from "./playground";
import { ReplyView } from "./ReplyView";
import { type Outcome, streamReply, WAITING } from "./streamReply";
import { useKept } from "./useKept";

interface Prompt {
  text: string;
  temperature: number | "";
  maxTokens: number | "";
  stream: boolean;
}

const EMPTY: Prompt = { text: "", temperature: "", maxTokens: 128, stream: true };

/** A text for a model of completions to go on with. */
export function CompletionPlayground({ endpoint: { name, config }, entity, select }: PlaygroundProps) {
  const { t } = useTranslation("query");
  const [prompt, setPrompt] = useKept(`prompt ${name}`, EMPTY);
  const [explain, setExplain] = useKept("explain", false);
  const [outcome, setOutcome] = useKept<Outcome | null>(`completion ${name}`, null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  const url = endpointUrl(name, entity);
  const busy = outcome?.state === "waiting";
  const ready = prompt.text.trim() !== "" && !busy;
  const set = (part: Partial<Prompt>) => setPrompt((before) => ({ ...before, ...part }));
  const body = {
    prompt: prompt.text || "Hello",
    ...(prompt.temperature === "" ? {} : { temperature: prompt.temperature }),
    ...(prompt.maxTokens === "" ? {} : { max_tokens: prompt.maxTokens }),
  };

  function sendRequest() {
    if (!ready) return;
    const control = new AbortController();
    running.current = control;
    setOutcome(WAITING);
    const asked = JSON.stringify(prompt.stream ? { ...body, stream: true } : body);
    void streamReply(url, asked, { explain, signal: control.signal }, setOutcome);
  }
  function sendOnKey(event: KeyboardEvent) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    sendRequest();
  }

  return (
    <Stack gap="lg">
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
        <Stack gap="sm" component="section" aria-label={t("request")} miw={0}>
          <Title order={2}>{t("request")}</Title>
          {select}
          <Textarea
            label={t("prompt")}
            autosize
            minRows={5}
            maxRows={16}
            value={prompt.text}
            onChange={(event) => set({ text: event.currentTarget.value })}
            onKeyDown={sendOnKey}
          />
          <SamplingFields temperature={prompt.temperature} maxTokens={prompt.maxTokens} onChange={set} />
          <Group justify="space-between" gap="sm">
            <Group gap="md">
              <Switch
                size="sm"
                label={t("chat.stream")}
                checked={prompt.stream}
                onChange={(event) => set({ stream: event.currentTarget.checked })}
              />
              <Switch size="sm" label={t("explain")} checked={explain} onChange={(event) => setExplain(event.currentTarget.checked)} />
            </Group>
            {busy ? (
              <Button variant="default" onClick={() => running.current?.abort()}>
                {t("chat.stop")}
              </Button>
            ) : (
              <Button onClick={sendRequest} disabled={!ready} title={t("sendKeys")}>
                {t("sendRequest")}
              </Button>
            )}
          </Group>
        </Stack>
        <Stack gap="sm" component="section" aria-label={t("response.title")} miw={0} aria-live="polite" aria-busy={busy}>
          <Title order={2}>{t("response.title")}</Title>
          {outcome ? (
            <ReplyView outcome={outcome} mayWake={config?.served_entities.some((one) => one.scale_to_zero_enabled)} retry={sendRequest} />
          ) : (
            <Text size="sm" c="dimmed">
              {t("response.none")}
            </Text>
          )}
        </Stack>
      </SimpleGrid>
      <CodeSection path={url} body={JSON.stringify(body)} endpoint={name} toEntity={entity !== null} task="llm/v1/completions" />
    </Stack>
  );
}
