import { Alert, Badge, Button, Group, Tabs, Text } from "@mantine/core";
import { IconExternalLink } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Link, useNavigate, useParams } from "react-router";
import { ApiError } from "../../api/client";
import { type RegisteredModel, useModel } from "../../api/registry";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageHeader } from "../../components/PageHeader";
import { PageSkeleton } from "../../components/PageSkeleton";
import { TimeAgo } from "../../components/Time";
import { ServingTab } from "./ServingTab";
import { VersionsTab } from "./VersionsTab";

const TABS = ["versions", "serving"] as const;

/** One registered model: its versions, and its serving by stage. The tab is part of the address. */
export default function ModelPage() {
  const { t } = useTranslation(["models", "common"]);
  const { name = "", tab = "versions" } = useParams();
  const navigate = useNavigate();
  const model = useModel(name);
  const crumbs = [{ label: t("models"), to: "/ml/models" }];
  const address = `/ml/models/${encodeURIComponent(name)}`;

  if (!model.data) {
    return (
      <>
        <PageHeader title={name} crumbs={crumbs} />
        {model.isError ? <ErrorPanel error={model.error} retry={() => void model.refetch()} /> : <PageSkeleton />}
      </>
    );
  }
  if (!TABS.some((one) => one === tab)) return <ErrorPanel error={new ApiError(404, "NOT_FOUND", t("common:error.noPage"))} />;
  return (
    <>
      <PageHeader title={name} crumbs={crumbs}>
        <Button
          component="a"
          href={`/mlflow/#/models/${encodeURIComponent(name)}`}
          variant="default"
          rightSection={<IconExternalLink size={15} aria-hidden />}
        >
          {t("openInMlflow")}
        </Button>
        <Button component={Link} to={`/ml/endpoints/create?${new URLSearchParams({ model: name })}`}>
          {t("createEndpoint")}
        </Button>
      </PageHeader>
      <Facts model={model.data} />
      {model.isError && (
        <Alert color="red" my="xs">
          {model.error.message}
        </Alert>
      )}
      <Tabs value={tab} onChange={(to) => void navigate(to === "versions" ? address : `${address}/${to}`)} keepMounted={false}>
        <Tabs.List mb="md">
          {TABS.map((one) => (
            <Tabs.Tab key={one} value={one}>
              {t(`tab.${one}`)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="versions">
          <VersionsTab model={model.data} />
        </Tabs.Panel>
        <Tabs.Panel value="serving">
          <ServingTab name={name} />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}

/** What the registry says of the model itself. */
function Facts({ model }: { model: RegisteredModel }) {
  const { t } = useTranslation("models");
  const tags = model.tags ?? [];
  const aliases = model.aliases ?? [];
  return (
    <>
      {model.description && (
        <Text size="sm" mb="xs" maw={900} style={{ whiteSpace: "pre-wrap" }}>
          {model.description}
        </Text>
      )}
      <Group gap="lg" mb="md" fz="sm" style={{ rowGap: 4 }}>
        <Group gap={4}>
          <Text span inherit c="dimmed">
            {t("created")}
          </Text>
          <TimeAgo at={model.creation_timestamp} />
        </Group>
        <Group gap={4}>
          <Text span inherit c="dimmed">
            {t("lastUpdated")}
          </Text>
          <TimeAgo at={model.last_updated_timestamp} />
        </Group>
        {tags.length > 0 && (
          <Group gap={4}>
            <Text span inherit c="dimmed">
              {t("tags")}
            </Text>
            {tags.map((tag) => (
              <Badge key={tag.key} variant="default" tt="none" fw={500} radius="sm" maw={320} title={`${tag.key}: ${tag.value}`}>
                {tag.value ? `${tag.key}: ${tag.value}` : tag.key}
              </Badge>
            ))}
          </Group>
        )}
        {aliases.length > 0 && (
          <Group gap={4}>
            <Text span inherit c="dimmed">
              {t("aliases")}
            </Text>
            {aliases.map(({ alias, version }) => (
              <Badge key={alias} variant="default" tt="none" fw={500} radius="sm">
                {t("aliasOfVersion", { alias, version })}
              </Badge>
            ))}
          </Group>
        )}
      </Group>
    </>
  );
}
