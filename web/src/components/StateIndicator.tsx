import { Group, Loader, Text } from "@mantine/core";
import { IconAlertTriangle, IconCircleCheckFilled, IconCircleMinus, IconCircleXFilled, IconPlayerStopFilled } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { EndpointState } from "../api/schema";

export type EndpointCondition = "ready" | "updating" | "updatingReady" | "failed" | "readyFailed" | "canceled" | "stopped" | "notReady";

interface Conditioned {
  state: EndpointState;
  stopped?: boolean | null;
}

/** The one word for how an endpoint is. */
export function conditionOf({ state, stopped }: Conditioned): EndpointCondition {
  const ready = state.ready === "READY";
  if (state.config_update === "IN_PROGRESS") return ready ? "updatingReady" : "updating";
  if (stopped) return "stopped";
  if (state.config_update === "UPDATE_FAILED") return ready ? "readyFailed" : "failed";
  if (state.config_update === "UPDATE_CANCELED" && !ready) return "canceled";
  return ready ? "ready" : "notReady";
}

export function ConditionIcon({ condition }: { condition: EndpointCondition }) {
  switch (condition) {
    case "ready":
      return <IconCircleCheckFilled size={16} color="var(--mantine-color-green-7)" aria-hidden />;
    case "updating":
    case "updatingReady":
      return <Loader size={14} aria-hidden />;
    case "failed":
      return <IconCircleXFilled size={16} color="var(--mantine-color-red-7)" aria-hidden />;
    case "readyFailed":
      return <IconAlertTriangle size={16} color="var(--mantine-color-orange-7)" aria-hidden />;
    case "stopped":
      return <IconPlayerStopFilled size={16} color="var(--mantine-color-gray-6)" aria-hidden />;
    default:
      return <IconCircleMinus size={16} color="var(--mantine-color-gray-6)" aria-hidden />;
  }
}

/** How an endpoint is, as a shape, a colour and a word. */
export function StateIndicator({ endpoint, size = "sm" }: { endpoint: Conditioned; size?: "sm" | "md" }) {
  const { t } = useTranslation();
  const condition = conditionOf(endpoint);
  return (
    <Group gap={6} wrap="nowrap" data-testid="state-indicator" data-condition={condition}>
      <ConditionIcon condition={condition} />
      <Text size={size} style={{ whiteSpace: "nowrap" }}>
        {t(`condition.${condition}`)}
      </Text>
    </Group>
  );
}
