import { Alert, Button, Group, SimpleGrid, Stack, Switch, Text, Title } from "@mantine/core";
import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { errorText } from "../../components/confirm";
import { JsonEditor } from "../../components/JsonEditor";
import type { CodeRequest } from "./code";
import { CodeSection } from "./CodeSection";
import { skeleton } from "./example";
import { invoke } from "./invoke";
import { readJson } from "./jsonText";
import { type Response, ResponsePane } from "./ResponsePane";
import { useKept } from "./useKept";

/** Ask a model: an editor, *Show example*, *Send request* and the answer. */
export interface CallModelPanelProps {
  /** Where to POST. */
  url: string;
  /** The body that *Show example* puts into the editor, as text; undefined while it is not known, null where there is none. */
  example: string | null | undefined;
  /** Said under the editor once the example is there: where it comes from. */
  exampleNote?: string;
  /** What the programs are to say besides the URL and the body. */
  code?: Pick<CodeRequest, "endpoint" | "toEntity" | "task">;
  /** The model may have scaled to zero, so that the first answer takes longer. */
  mayWake?: boolean;
  /** Further controls above the editor. */
  children?: ReactNode;
}

export function CallModelPanel({ url, example, exampleNote, code, mayWake, children }: CallModelPanelProps) {
  const { t } = useTranslation("query");
  const of = code?.endpoint ?? url;
  const [text, setText] = useKept(`text ${of}`, "");
  const [note, setNote] = useState("");
  const [explain, setExplain] = useKept("explain", false);
  const [problem, setProblem] = useState("");
  const [response, setResponse] = useKept<Response>(`response ${of}`, { state: "none" });
  const running = useRef<AbortController | null>(null);
  const busy = response.state === "busy";
  useEffect(() => () => running.current?.abort(), []);

  function change(next: string) {
    setText(next);
    setProblem("");
  }
  function showExample() {
    change(example ?? skeleton(code?.task).text);
    setNote((example === null ? t("example.skeleton") : exampleNote) ?? "");
  }
  async function sendRequest() {
    if (busy) return;
    const wrong = text.trim() === "" ? t("emptyBody") : readJson(text).problem;
    if (wrong !== undefined) {
      setProblem(text.trim() === "" ? wrong : t("invalidJson", { said: wrong }));
      return;
    }
    setProblem("");
    const control = new AbortController();
    running.current = control;
    setResponse({ state: "busy" });
    try {
      setResponse({ state: "answered", answer: await invoke(url, text, { explain, signal: control.signal }) });
    } catch (error) {
      setResponse(control.signal.aborted ? { state: "canceled" } : { state: "failed", message: errorText(error) });
    }
  }
  function sendOnKey(event: KeyboardEvent) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    // Before the editor sees it, for which the key is a new line.
    event.preventDefault();
    event.stopPropagation();
    void sendRequest();
  }
  const shownBody = readJson(text).problem === undefined ? text : (example ?? skeleton(code?.task).text);

  return (
    <Stack gap="lg">
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
        <Stack gap="xs" component="section" aria-label={t("request")} miw={0} onKeyDownCapture={sendOnKey}>
          <Group justify="space-between" gap="xs" mih={30}>
            <Title order={2}>{t("request")}</Title>
            <Button size="xs" variant="default" onClick={showExample} loading={example === undefined}>
              {t("showExample")}
            </Button>
          </Group>
          {children}
          <JsonEditor value={text} onChange={change} label={t("requestBody")} minHeight={240} maxHeight={480} />
          {note && !problem && (
            <Text size="xs" c="dimmed">
              {note}
            </Text>
          )}
          {problem && (
            <Alert role="alert" color="red" py="xs">
              {problem}
            </Alert>
          )}
          <Group justify="space-between" gap="sm">
            <Switch size="sm" label={t("explain")} checked={explain} onChange={(event) => setExplain(event.currentTarget.checked)} />
            <Group gap="xs">
              {busy && (
                <Button variant="default" onClick={() => running.current?.abort()}>
                  {t("common:cancel")}
                </Button>
              )}
              <Button onClick={() => void sendRequest()} loading={busy} title={t("sendKeys")} aria-keyshortcuts="Control+Enter">
                {t("sendRequest")}
              </Button>
            </Group>
          </Group>
        </Stack>
        <Stack gap="xs" component="section" aria-label={t("response.title")} miw={0}>
          <Group mih={30}>
            <Title order={2}>{t("response.title")}</Title>
          </Group>
          <ResponsePane response={response} mayWake={mayWake} />
        </Stack>
      </SimpleGrid>
      <CodeSection path={url} body={shownBody} {...code} />
    </Stack>
  );
}
