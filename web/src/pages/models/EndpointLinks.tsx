import { Anchor, Group, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointSummary } from "../../api/schema";
import { ConditionIcon, conditionOf } from "../../components/StateIndicator";

const SHOWN = 3;

/** The endpoints that serve something, each with how it is; of many the first. No name is wider than `width`. */
export function EndpointLinks({ endpoints, width = 200 }: { endpoints: EndpointSummary[]; width?: number }) {
  const { t } = useTranslation(["models", "common"]);
  if (endpoints.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        –
      </Text>
    );
  }
  const rest = endpoints.slice(SHOWN).map((endpoint) => endpoint.name);
  return (
    <Group gap="xs" style={{ rowGap: 0 }}>
      {endpoints.slice(0, SHOWN).map((endpoint) => (
        <Group
          key={endpoint.name}
          gap={4}
          wrap="nowrap"
          miw={0}
          title={`${endpoint.name}: ${t(`common:condition.${conditionOf(endpoint)}`)}`}
        >
          <ConditionIcon condition={conditionOf(endpoint)} />
          <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(endpoint.name)}`} size="sm" className="cut" maw={width}>
            {endpoint.name}
          </Anchor>
        </Group>
      ))}
      {rest.length > 0 && (
        <Text size="sm" c="dimmed" title={rest.join(", ")}>
          {t("andMore", { count: rest.length })}
        </Text>
      )}
    </Group>
  );
}
