import { Anchor, Box, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { ServedEntityOutput } from "../../api/schema";

/** What an entity serves: a version of a registered model, a provider's model, or one of the catalogue. */
export function EntityModel({ entity }: { entity: ServedEntityOutput }) {
  const { t } = useTranslation("endpoint");
  const { external_model: external, foundation_model: foundation, entity_name: name, entity_version: version } = entity;
  if (external) {
    return (
      <Box component="span" className="cut" display="block" title={`${external.provider} · ${external.name} · ${external.task}`}>
        {external.name}{" "}
        <Text component="span" inherit c="dimmed">
          {external.provider}
        </Text>
      </Box>
    );
  }
  if (foundation) {
    if (!foundation.docs) return <>{foundation.display_name}</>;
    return (
      <Anchor href={foundation.docs} target="_blank" rel="noreferrer" inherit>
        {foundation.display_name}
      </Anchor>
    );
  }
  if (!name) return <>–</>;
  return (
    <Anchor component={Link} to={`/ml/models/${encodeURIComponent(name)}`} inherit className="cut" display="block" title={name}>
      {version ? t("entity.version", { name, version }) : name}
    </Anchor>
  );
}
