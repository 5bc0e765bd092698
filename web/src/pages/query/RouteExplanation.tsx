import { Group, Stack, Table, Text, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Fact } from "./Fact";
import type { AppliedLimit, Explanation } from "./invoke";
import { useFormats } from "./useFormats";

const NO_WRAP = { whiteSpace: "nowrap" } as const;

/** How the request found its model: the entities that were tried and why, the limits and guardrails on the way. */
export function RouteExplanation({ explanation }: { explanation: Explanation }) {
  const { t } = useTranslation("query");
  const { duration, number } = useFormats();
  const limit = ({ key, principal, calls, tokens, renewal_period_seconds: seconds }: AppliedLimit) =>
    t(tokens === undefined ? "route.calls" : "route.tokens", {
      amount: number(tokens ?? calls ?? 0),
      per: duration(1000 * (seconds ?? 60)),
      key: principal ? `${key} ${principal}` : key,
    });
  return (
    <Stack gap="xs" role="group" aria-label={t("route.title")}>
      <Title order={3}>{t("route.title")}</Title>
      <Table.ScrollContainer
        minWidth={480}
        scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "group", "aria-label": t("route.attempts") } }}
      >
        <Table withTableBorder>
          <Table.Thead>
            <Table.Tr>
              <Table.Th style={NO_WRAP}>{t("route.try")}</Table.Th>
              <Table.Th style={NO_WRAP}>{t("fact.entity")}</Table.Th>
              <Table.Th style={NO_WRAP}>{t("route.status")}</Table.Th>
              <Table.Th ta="right" style={NO_WRAP}>{t("route.time")}</Table.Th>
              <Table.Th style={NO_WRAP}>{t("route.why")}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {explanation.attempts.map((attempt, at) => (
              <Table.Tr key={at}>
                <Table.Td>{at + 1}</Table.Td>
                <Table.Td>
                  <Group gap={6} wrap="nowrap">
                    <span className="mono" style={NO_WRAP}>
                      {attempt.served_entity}
                    </span>
                    {attempt.provider && (
                      <Text span size="xs" c="dimmed" style={NO_WRAP}>
                        {attempt.provider}
                      </Text>
                    )}
                  </Group>
                </Table.Td>
                <Table.Td>{attempt.status}</Table.Td>
                <Table.Td ta="right" style={NO_WRAP}>
                  {duration(attempt.ms)}
                </Table.Td>
                <Table.Td>
                  {attempt.why}
                  {attempt.message && (
                    <Text size="xs" c="dimmed">
                      {attempt.message}
                    </Text>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      <Group gap="md" style={{ rowGap: 4 }}>
        <Fact label={t("route.version")}>{explanation.config_version}</Fact>
        <Fact label={t("route.limits")}>{explanation.rate_limits.map(limit).join("; ") || t("common:none")}</Fact>
        <Fact label={t("route.guardrails")}>{explanation.guardrails.join(", ") || t("common:none")}</Fact>
        <Fact label={t("route.overhead")}>{duration(explanation.overhead_ms)}</Fact>
      </Group>
    </Stack>
  );
}
