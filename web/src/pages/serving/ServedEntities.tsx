import { Anchor, Group, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointSummary, ServedEntitySummary } from "../../api/schema";
import { entityText } from "./endpoints";

const SHOWN = 2;

function Entity({ entity }: { entity: ServedEntitySummary }) {
  const { t } = useTranslation("serving");
  const { name, detail } = entityText(entity);
  const registered = entity.entity_name && !entity.entity_name.startsWith("system.ai.");
  const shown = detail && !entity.external_model ? t("version", { version: detail }) : detail;
  return (
    <Group gap={6} wrap="nowrap" title={shown ? `${name} ${shown}` : name}>
      {registered ? (
        <Anchor component={Link} to={`/ml/models/${encodeURIComponent(name)}`} size="sm" className="cut">
          {name}
        </Anchor>
      ) : (
        <Text size="sm" className="cut">
          {name}
        </Text>
      )}
      {shown && (
        <Text size="sm" c="dimmed" style={{ whiteSpace: "nowrap" }}>
          {shown}
        </Text>
      )}
    </Group>
  );
}

/** What an endpoint serves: the first few, and how many more. Nothing while its first configuration is not active. */
export function ServedEntities({ endpoint }: { endpoint: EndpointSummary }) {
  const { t } = useTranslation("serving");
  const entities = endpoint.config?.served_entities ?? [];
  if (entities.length === 0) {
    return (
      <Text size="sm" c="dimmed" title={t("nothingServed")}>
        –
      </Text>
    );
  }
  const more = entities.slice(SHOWN);
  return (
    <Stack gap={0}>
      {entities.slice(0, SHOWN).map((entity) => (
        <Entity key={entity.name} entity={entity} />
      ))}
      {more.length > 0 && (
        <Text size="xs" c="dimmed" title={more.map((entity) => Object.values(entityText(entity)).join(" ")).join("\n")}>
          {t("more", { count: more.length })}
        </Text>
      )}
    </Stack>
  );
}
