import { Button, Group, Loader, Stack, Text } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { JsonEditor } from "../../components/JsonEditor";
import { AnswerFacts } from "./AnswerFacts";
import { type Answer, problemOf } from "./invoke";
import { layOut, readJson } from "./jsonText";
import { ProblemAlert } from "./ProblemAlert";
import { RouteExplanation } from "./RouteExplanation";
import { useFormats } from "./useFormats";

const MOST_SHOWN = 200_000; // characters: more makes the page slow, and nobody reads them

/** What is known of the last request: nothing yet, on its way, failed before an answer, or answered. */
export type Response =
  | { state: "none" | "busy" | "canceled" }
  | { state: "failed"; message: string }
  | { state: "answered"; answer: Answer };

export function ResponsePane({ response, mayWake }: { response: Response; mayWake?: boolean }) {
  const { t } = useTranslation("query");
  switch (response.state) {
    case "none":
    case "canceled":
      return (
        <Text size="sm" c="dimmed" py="md">
          {t(response.state === "none" ? "response.none" : "response.canceled")}
        </Text>
      );
    case "busy":
      return (
        <Group gap="sm" py="md" role="status" wrap="nowrap">
          <Loader size="xs" />
          <Text size="sm">{t(mayWake ? "response.waking" : "response.busy")}</Text>
        </Group>
      );
    case "failed":
      return <ProblemAlert problem={{ code: "", message: response.message }} />;
    case "answered":
      return <Answered answer={response.answer} />;
  }
}

function Answered({ answer }: { answer: Answer }) {
  const { t } = useTranslation("query");
  const { size } = useFormats();
  const json = readJson(answer.text).problem === undefined;
  const whole = json ? layOut(answer.text) : answer.text;
  const cut = whole.length > MOST_SHOWN;
  function save() {
    const url = URL.createObjectURL(new Blob([answer.text], { type: answer.contentType }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `response-${answer.requestId ?? "1"}.${json ? "json" : "txt"}`;
    link.click();
    URL.revokeObjectURL(url);
  }
  return (
    <Stack gap="sm" miw={0}>
      <AnswerFacts head={answer} milliseconds={answer.milliseconds} bytes={answer.bytes} />
      {!answer.ok && <ProblemAlert problem={problemOf(answer.status, answer.text)} />}
      {answer.text && (
        <JsonEditor
          value={cut ? whole.slice(0, MOST_SHOWN) : whole}
          label={t("response.body")}
          language={json && !cut ? "json" : "text"}
          readOnly
          maxHeight={480}
        />
      )}
      {cut && (
        <Group gap="sm">
          <Text size="sm" c="dimmed">
            {t("response.cut", { shown: size(MOST_SHOWN) })}
          </Text>
          <Button size="xs" variant="default" leftSection={<IconDownload size={15} />} onClick={save}>
            {t("common:download")}
          </Button>
        </Group>
      )}
      {answer.explanation && <RouteExplanation explanation={answer.explanation} />}
    </Stack>
  );
}
