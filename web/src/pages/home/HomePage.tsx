import { Anchor, Button, Grid, Group, Stack, Text } from "@mantine/core";
import { IconExternalLink, IconPlus } from "@tabler/icons-react";
import { useMemo } from "react";
import { Trans, useTranslation } from "react-i18next";
import { Link } from "react-router";
import { useEndpoints } from "../../api/queries";
import type { EndpointSummary } from "../../api/schema";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageHeader } from "../../components/PageHeader";
import { PageSkeleton } from "../../components/PageSkeleton";
import { foundationModelOf, isFoundationEndpoint } from "../serving/endpoints";
import { Attention } from "./Attention";
import { Conditions } from "./Conditions";
import { LastHour } from "./LastHour";
import { Recent } from "./Recent";
import { Section } from "./Section";
import { Start } from "./Start";

const MODEL_DOCS = "https://mlflow.org/docs/latest/ml/model/";

/** One line: which of the server's own models can be talked to. */
function ChatHint({ endpoints }: { endpoints: EndpointSummary[] }) {
  const { t } = useTranslation("home");
  const chat = endpoints.find((endpoint) => isFoundationEndpoint(endpoint) && endpoint.task === "llm/v1/chat");
  if (!chat) return null;
  const link = <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(chat.name)}/query`} inherit underline="always" />;
  return (
    <Text size="sm" c="dimmed">
      <Trans t={t} i18nKey="chatHint" values={{ model: foundationModelOf(chat)?.display_name || chat.name }} components={{ chat: link }} />
    </Text>
  );
}

function Overview({ endpoints }: { endpoints: EndpointSummary[] }) {
  const { t } = useTranslation("home");
  const recent = useMemo(() => [...endpoints].sort((a, b) => b.last_updated_timestamp - a.last_updated_timestamp), [endpoints]);
  return (
    <Stack gap="xl">
      <Section title={t("endpoints")} beside={<ChatHint endpoints={endpoints} />}>
        <Conditions endpoints={endpoints} />
      </Section>
      <Attention endpoints={recent} />
      <Grid gap="xl">
        <Grid.Col span={{ base: 12, lg: 6 }}>
          <LastHour recent={recent} />
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 6 }}>
          <Recent recent={recent} />
        </Grid.Col>
      </Grid>
    </Stack>
  );
}

/** What runs, what does not, and what it has to do; where nothing is served yet, the way to that. */
export default function HomePage() {
  const { t } = useTranslation(["home", "serving"]);
  const { data: endpoints, error, refetch } = useEndpoints();
  const empty = endpoints?.every(isFoundationEndpoint);
  return (
    <>
      <PageHeader title={t("title")}>
        <Group gap="xs">
          <Button component="a" href={MODEL_DOCS} target="_blank" rel="noreferrer" variant="default" rightSection={<IconExternalLink size={15} />}>
            {t("modelDocs")}
          </Button>
          <Button component={Link} to="/ml/endpoints/create" leftSection={<IconPlus size={16} />}>
            {t("serving:create")}
          </Button>
        </Group>
      </PageHeader>
      {error && <ErrorPanel error={error} retry={() => void refetch()} />}
      {!endpoints && !error && <PageSkeleton />}
      {endpoints && !empty && <Overview endpoints={endpoints} />}
      {endpoints && empty && (
        <Stack gap="md" maw={860}>
          <ChatHint endpoints={endpoints} />
          <Start />
        </Stack>
      )}
    </>
  );
}
