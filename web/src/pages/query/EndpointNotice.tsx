import { Alert, Anchor, Text } from "@mantine/core";
import { IconInfoCircle } from "@tabler/icons-react";
import { Trans, useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointDetail } from "../../api/schema";
import { conditionOf } from "../../components/StateIndicator";

/** Why an endpoint does not answer now, and what to do about it. Nothing where it does. */
export function EndpointNotice({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("query");
  const condition = conditionOf(endpoint);
  if (endpoint.state.ready === "READY") return null;
  const of = `/ml/endpoints/${encodeURIComponent(endpoint.name)}`;
  const links = {
    overview: <Anchor component={Link} to={of} inherit underline="always" />,
    logs: <Anchor component={Link} to={`${of}/logs`} inherit underline="always" />,
  };
  const manages = endpoint.permission_level === "CAN_MANAGE";
  const said = messageOf(endpoint);
  const stopped = manages ? "stopped" : "stoppedOther";
  const kind = condition === "stopped" ? stopped : condition === "updating" || condition === "failed" ? condition : "notReady";
  return (
    <Alert color="gray" icon={<IconInfoCircle size={18} />} title={t(`notice.${kind}.title`)} data-testid="endpoint-notice">
      <Text size="sm">
        <Trans t={t} i18nKey={`notice.${kind}.text`} components={links} />
      </Text>
      {said && condition === "updating" && (
        <Text size="sm" mt={4} className="mono">
          {said}
        </Text>
      )}
    </Alert>
  );
}

/** The first line of what the server says about an entity of the endpoint; the rest of it is on the other tabs. */
function messageOf({ pending_config, config }: EndpointDetail): string {
  const entities = pending_config?.served_entities ?? config?.served_entities ?? [];
  const said = entities.map((entity) => entity.state.deployment_state_message).find((message) => message);
  return said?.split("\n", 1)[0] ?? "";
}
