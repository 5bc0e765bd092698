import { Anchor, Button, Center, Group, Text } from "@mantine/core";
import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { useEndpoints } from "../../api/queries";
import type { RegisteredModel } from "../../api/registry";
import { CodeBlock } from "../../components/Copy";
import { type Column, DataTable } from "../../components/DataTable";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageHeader } from "../../components/PageHeader";
import { TimeAgo } from "../../components/Time";
import { UrlSearch, useUrlValue } from "../../components/UrlSearch";
import { logModel } from "../home/startCode";
import { EndpointLinks } from "./EndpointLinks";
import { ModelMarks } from "./ModelMarks";
import { latestVersion, useModelPages } from "./registered";
import { endpointsServing } from "./served";

const FETCHED_UNASKED = 2000;

/** All registered models that one may read. */
export default function ModelsPage() {
  const { t } = useTranslation(["models", "common"]);
  const [text] = useUrlValue("q");
  const pages = useModelPages(text.trim());
  const endpoints = useEndpoints();
  const models = pages.data?.pages.flatMap((page) => page.models);
  const { hasNextPage, isFetching, isError, fetchNextPage } = pages;
  const more = hasNextPage && (models?.length ?? 0) < FETCHED_UNASKED;
  useEffect(() => {
    if (more && !isFetching && !isError) void fetchNextPage();
  }, [more, isFetching, isError, fetchNextPage]);

  const serving = (model: RegisteredModel) => endpointsServing(endpoints.data ?? [], model.name);
  const columns: Column<RegisteredModel>[] = [
    {
      key: "name",
      title: t("common:name"),
      sortBy: (model) => model.name,
      cell: (model) => (
        <Anchor
          component={Link}
          to={`/ml/models/${encodeURIComponent(model.name)}`}
          size="sm"
          className="cut"
          display="block"
          title={model.name}
        >
          {model.name}
        </Anchor>
      ),
    },
    {
      key: "version",
      title: t("latestVersion"),
      align: "right",
      sortBy: (model) => Number(latestVersion(model) ?? 0),
      cell: (model) => latestVersion(model) ?? "–",
    },
    { key: "stages", title: t("stagesAndAliases"), cell: (model) => <ModelMarks model={model} /> },
    {
      key: "updated",
      title: t("lastUpdated"),
      sortBy: (model) => model.last_updated_timestamp ?? 0,
      cell: (model) => <TimeAgo at={model.last_updated_timestamp} />,
    },
    {
      key: "served",
      title: t("servedBy"),
      sortBy: (model) => serving(model).length,
      cell: (model) => <EndpointLinks endpoints={serving(model)} />,
    },
  ];

  return (
    <>
      <PageHeader title={t("models")} />
      <Group mb="sm" gap="sm">
        <UrlSearch label={t("searchModels")} />
      </Group>
      {pages.isError && <ErrorPanel error={pages.error} retry={() => void pages.refetch()} />}
      {(models || !pages.isError) && (
        <DataTable
          columns={columns}
          rows={more && models?.length === 0 ? undefined : models}
          rowKey={(model) => model.name}
          label={t("models")}
          defaultSort="name"
          empty={text ? <NoMatch text={text} /> : <FirstModel />}
        />
      )}
      {hasNextPage && !more && (
        <Center mt="sm">
          <Button variant="default" size="xs" loading={pages.isFetchingNextPage} onClick={() => void fetchNextPage()}>
            {t("moreModels")}
          </Button>
        </Center>
      )}
    </>
  );
}

function NoMatch({ text }: { text: string }) {
  const { t } = useTranslation("models");
  return <EmptyState title={t("noMatch.title")}>{t("noMatch.text", { text })}</EmptyState>;
}

function FirstModel() {
  const { t } = useTranslation("models");
  return (
    <>
      <EmptyState title={t("empty.title")}>{t("empty.text")}</EmptyState>
      <Text size="sm" mb="xs">
        {t("empty.how")}
      </Text>
      <CodeBlock code={logModel(window.location.origin)} label={t("empty.code")} />
    </>
  );
}
