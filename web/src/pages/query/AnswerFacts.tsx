import { Badge, Group } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { CopyableText } from "../../components/Copy";
import { Fact } from "./Fact";
import type { AnswerHead } from "./invoke";
import { useFormats } from "./useFormats";

/** The head of an answer: its status, how long it took, who answered. */
export function AnswerFacts({ head, milliseconds, bytes }: { head: AnswerHead; milliseconds: number; bytes?: number }) {
  const { t } = useTranslation("query");
  const { duration, size } = useFormats();
  return (
    <Group gap="md" style={{ rowGap: 4 }} data-testid="answer-facts">
      <Badge variant="outline" color={head.ok ? "green.9" : "red.9"} c="var(--mantine-color-text)" radius="sm" tt="none">
        {t("fact.status", { status: head.status })}
      </Badge>
      <Fact label={t("fact.latency")}>{duration(milliseconds)}</Fact>
      {bytes !== undefined && <Fact label={t("fact.size")}>{size(bytes)}</Fact>}
      {head.servedEntity && (
        <Fact label={t("fact.entity")}>
          <span className="mono">{head.servedEntity}</span>
        </Fact>
      )}
      {head.requestId && (
        <Fact label={t("fact.requestId")}>
          <CopyableText value={head.requestId} label={t("fact.copyRequestId")} />
        </Fact>
      )}
    </Group>
  );
}
