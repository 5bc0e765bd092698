import { Anchor, Button, Card, Group, SimpleGrid, Text, Title } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointSummary } from "../../api/schema";
import { StateIndicator } from "../../components/StateIndicator";
import { foundationModelOf } from "./endpoints";
import { Task } from "./Task";

const SHOWN = 8;

function FoundationCard({ endpoint }: { endpoint: EndpointSummary }) {
  const { t } = useTranslation("serving");
  const model = foundationModelOf(endpoint);
  const path = `/ml/endpoints/${encodeURIComponent(endpoint.name)}`;
  const title = model?.display_name || endpoint.name;
  return (
    <Card withBorder padding="sm" radius="sm">
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Title order={3} fz="sm" className="cut" title={title}>
          <Anchor component={Link} to={path} inherit>
            {title}
          </Anchor>
        </Title>
        <Task task={endpoint.task} />
      </Group>
      <Text className="mono cut" c="dimmed" title={endpoint.name}>
        {endpoint.name}
      </Text>
      <Text size="sm" lineClamp={2} mt={4} mb="xs" title={endpoint.description}>
        {endpoint.description}
      </Text>
      <Group justify="space-between" mt="auto" gap="xs">
        <StateIndicator endpoint={endpoint} />
        <Group gap="sm">
          {model?.docs && (
            <Anchor href={model.docs} target="_blank" rel="noreferrer" size="sm" aria-label={t("modelCardOf", { name: title })}>
              {t("modelCard")}
            </Anchor>
          )}
          <Anchor component={Link} to={`${path}/query`} size="sm" fw={600} aria-label={t("queryOf", { name: title })}>
            {t("query")}
          </Anchor>
        </Group>
      </Group>
    </Card>
  );
}

/** The endpoints of the models that the server brings, as cards above the list. */
export function FoundationModels({ endpoints }: { endpoints: EndpointSummary[] }) {
  const { t } = useTranslation("serving");
  const [all, setAll] = useState(false);
  if (endpoints.length === 0) return null;
  const shown = all ? endpoints : endpoints.slice(0, SHOWN);
  return (
    <section aria-labelledby="foundation-models">
      <Title order={2} id="foundation-models" mb="xs">
        {t("foundation")}
      </Title>
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3, xl: 4 }} spacing="sm">
        {shown.map((endpoint) => (
          <FoundationCard key={endpoint.name} endpoint={endpoint} />
        ))}
      </SimpleGrid>
      {endpoints.length > SHOWN && (
        <Button variant="subtle" size="xs" mt="xs" onClick={() => setAll(!all)}>
          {all ? t("showFewer") : t("showAll", { count: endpoints.length })}
        </Button>
      )}
    </section>
  );
}
