import { Group } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { CopyIcon } from "../../components/Copy";
import { Fact } from "./Fact";
import { type Outcome, tokensPerSecond } from "./streamReply";
import { useFormats } from "./useFormats";

/** What an answer took: tokens, times, who gave it, why it ended. */
export function ReplyFacts({ outcome }: { outcome: Outcome }) {
  const { t } = useTranslation("query");
  const { duration, number } = useFormats();
  const { reply, head, firstMs, totalMs } = outcome;
  const rate = tokensPerSecond(outcome);
  return (
    <Group gap="md" style={{ rowGap: 2 }} data-testid="reply-facts">
      {reply.usage?.prompt != null && <Fact label={t("fact.promptTokens")}>{number(reply.usage.prompt)}</Fact>}
      {reply.usage?.completion != null && <Fact label={t("fact.completionTokens")}>{number(reply.usage.completion)}</Fact>}
      {firstMs !== null && <Fact label={t("fact.firstToken")}>{duration(firstMs)}</Fact>}
      {rate !== null && <Fact label={t("fact.rate")}>{number(rate, 1)}</Fact>}
      <Fact label={t("fact.total")}>{duration(totalMs)}</Fact>
      {reply.finish && (
        <Fact label={t("fact.finish")}>
          <span className="mono">{reply.finish}</span>
        </Fact>
      )}
      {head?.servedEntity && (
        <Fact label={t("fact.entity")}>
          <span className="mono">{head.servedEntity}</span>
        </Fact>
      )}
      {head?.requestId && (
        <Fact label={t("fact.requestId")}>
          <Group gap={2} wrap="nowrap">
            <span className="mono" title={head.requestId}>
              {head.requestId.slice(0, 8)}
            </span>
            <CopyIcon value={head.requestId} label={t("fact.copyRequestId")} />
          </Group>
        </Fact>
      )}
    </Group>
  );
}
