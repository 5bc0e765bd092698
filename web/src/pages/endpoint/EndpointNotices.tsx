import { Anchor, Group, Text } from "@mantine/core";
import { IconInfoCircle } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { Trans, useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointDetail } from "../../api/schema";
import { failureOf, kindOf } from "./endpointKind";

function Notice({ children }: { children: ReactNode }) {
  return (
    <Group gap={6} mt={4} wrap="nowrap" align="flex-start">
      <IconInfoCircle size={16} color="var(--mantine-color-dimmed)" aria-hidden style={{ flex: "none", marginTop: 2 }} />
      <Text size="sm">{children}</Text>
    </Group>
  );
}

/** What one must know of the endpoint on every tab: why it failed, and who else decides what it serves. */
export function EndpointNotices({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("endpoint");
  const failure = failureOf(endpoint);
  const firstLine = failure?.split("\n", 1)[0];
  const model = endpoint.legacy_serving?.registered_model_name;
  return (
    <>
      {failure && (
        <Text size="sm" c="var(--mantine-color-error)" lineClamp={2} title={failure} mt={4} data-testid="failure-reason">
          {firstLine}
        </Text>
      )}
      {model && (
        <Notice>
          <Trans
            t={t}
            i18nKey="notice.legacy"
            values={{ model }}
            components={{ to: <Anchor component={Link} inherit to={`/ml/models/${encodeURIComponent(model)}/serving`} /> }}
          />
        </Notice>
      )}
      {kindOf(endpoint) === "FOUNDATION_MODEL_API" && <Notice>{t("notice.foundation")}</Notice>}
    </>
  );
}
