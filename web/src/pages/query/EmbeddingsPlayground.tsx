import { Button, Group, SimpleGrid, Stack, Switch, Textarea, Title } from "@mantine/core";
import { type KeyboardEvent, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { errorText } from "../../components/confirm";
import { AnswerFacts } from "./AnswerFacts";
import { CodeSection } from "./CodeSection";
import { endpointUrl, invoke } from "./invoke";
import { readJson } from "./jsonText";
import type { PlaygroundProps } from "./playground";
import { type Response, ResponsePane } from "./ResponsePane";
import { RouteExplanation } from "./RouteExplanation";
import { useKept } from "./useKept";
import { VectorTables } from "./VectorTables";
import { vectorsIn } from "./vectors";

const linesOf = (text: string) => text.split("\n").filter((line) => line.trim() !== "");

/** Texts to embed, a line each, and how near they are to one another. */
export function EmbeddingsPlayground({ endpoint: { name, config }, entity, select }: PlaygroundProps) {
  const { t } = useTranslation("query");
  const [text, setText] = useKept(`inputs ${name}`, "");
  const [explain, setExplain] = useKept("explain", false);
  const [sent, setSent] = useKept<string[]>(`sent ${name}`, []);
  const [response, setResponse] = useKept<Response>(`vectors ${name}`, { state: "none" });
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  const url = endpointUrl(name, entity);
  const inputs = linesOf(text);
  const busy = response.state === "busy";

  async function sendRequest() {
    if (busy || inputs.length === 0) return;
    const control = new AbortController();
    running.current = control;
    setSent(inputs);
    setResponse({ state: "busy" });
    try {
      setResponse({ state: "answered", answer: await invoke(url, JSON.stringify({ input: inputs }), { explain, signal: control.signal }) });
    } catch (error) {
      setResponse(control.signal.aborted ? { state: "canceled" } : { state: "failed", message: errorText(error) });
    }
  }
  function sendOnKey(event: KeyboardEvent) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    void sendRequest();
  }
  const answer = response.state === "answered" && response.answer.ok ? response.answer : null;
  const vectors = answer && vectorsIn(readJson(answer.text).value);

  return (
    <Stack gap="lg">
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
        <Stack gap="sm" component="section" aria-label={t("request")} miw={0}>
          <Title order={2}>{t("request")}</Title>
          {select}
          <Textarea
            label={t("embed.inputs")}
            description={t("embed.oneALine")}
            autosize
            minRows={5}
            maxRows={16}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
            onKeyDown={sendOnKey}
          />
          <Group justify="space-between" gap="sm">
            <Switch size="sm" label={t("explain")} checked={explain} onChange={(event) => setExplain(event.currentTarget.checked)} />
            <Group gap="xs">
              <Button variant="default" onClick={() => setText(t("embed.example"))}>
                {t("showExample")}
              </Button>
              <Button onClick={() => void sendRequest()} loading={busy} disabled={inputs.length === 0} title={t("sendKeys")}>
                {t("sendRequest")}
              </Button>
            </Group>
          </Group>
        </Stack>
        <Stack gap="sm" component="section" aria-label={t("response.title")} miw={0}>
          <Title order={2}>{t("response.title")}</Title>
          {answer && vectors ? (
            <>
              <AnswerFacts head={answer} milliseconds={answer.milliseconds} bytes={answer.bytes} />
              <VectorTables inputs={sent} vectors={vectors} />
              {answer.explanation && <RouteExplanation explanation={answer.explanation} />}
            </>
          ) : (
            <ResponsePane response={response} mayWake={config?.served_entities.some((one) => one.scale_to_zero_enabled)} />
          )}
        </Stack>
      </SimpleGrid>
      <CodeSection
        path={url}
        body={JSON.stringify({ input: inputs.length > 0 ? inputs : ["Hello"] })}
        endpoint={name}
        toEntity={entity !== null}
        task="llm/v1/embeddings"
      />
    </Stack>
  );
}
