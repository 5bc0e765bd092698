import { Button, Group, Stack, Text, Title } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useMemo } from "react";
import { useTranslation } from "react-i18next";
import { Link, useSearchParams } from "react-router";
import { useEndpoints, useSession } from "../../api/queries";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageHeader } from "../../components/PageHeader";
import { EndpointsTable } from "./EndpointsTable";
import { isFoundationEndpoint, matches, tagChoices } from "./endpoints";
import { FoundationModels } from "./FoundationModels";
import { ServingFilters } from "./ServingFilters";

const FILTERS = ["q", "state", "owner", "tag"];

/** All serving endpoints: the models that the server brings as cards, then the table, narrowed by the page's address. */
export default function ServingPage() {
  const { t, i18n } = useTranslation("serving");
  const [params, setParams] = useSearchParams();
  const { data: endpoints, error, refetch } = useEndpoints();
  const user = useSession().data?.user_name ?? "";
  const owner = params.get("owner") === "me" ? user : "";
  const text = params.get("q") ?? "";
  const state = params.get("state") ?? "";
  const tag = params.get("tag") ?? "";

  const foundation = useMemo(() => endpoints?.filter(isFoundationEndpoint) ?? [], [endpoints]);
  const tags = useMemo(() => {
    const found = new Set(endpoints?.flatMap(tagChoices));
    return [...found].sort(new Intl.Collator(i18n.language).compare);
  }, [endpoints, i18n.language]);
  const shown = useMemo(() => endpoints?.filter((each) => matches(each, { text, state, owner, tag })), [endpoints, text, state, owner, tag]);

  const filtered = FILTERS.some((name) => params.get(name));
  const own = endpoints && endpoints.length > foundation.length;
  const create = (
    <Button component={Link} to="/ml/endpoints/create" leftSection={<IconPlus size={16} />}>
      {t("create")}
    </Button>
  );
  function clear() {
    const kept = new URLSearchParams(params);
    for (const name of [...FILTERS, "page"]) kept.delete(name);
    setParams(kept, { replace: true });
  }
  const noneMatch = (
    <EmptyState
      title={t("empty.noMatch")}
      action={
        <Button variant="default" onClick={clear}>
          {t("empty.clear")}
        </Button>
      }
    >
      {t("empty.noMatchHint")}
    </EmptyState>
  );
  const noEndpoint = <EmptyState title={t("empty.none")}>{t("empty.noneHint")}</EmptyState>;

  return (
    <>
      <PageHeader title={t("pageTitle")}>{create}</PageHeader>
      {error && <ErrorPanel error={error} retry={() => void refetch()} />}
      {(endpoints || !error) && (
        <Stack gap="lg">
          <FoundationModels endpoints={foundation} />
          <section aria-labelledby="serving-endpoints">
            <Group gap="xs" mb="xs" align="baseline">
              <Title order={2} id="serving-endpoints">
                {t("title")}
              </Title>
              {shown && endpoints && (
                <Text size="sm" c="dimmed" role="status">
                  {filtered ? t("countOf", { shown: shown.length, count: endpoints.length }) : t("count", { count: endpoints.length })}
                </Text>
              )}
            </Group>
            {(!endpoints || endpoints.length > 0) && <ServingFilters tags={tags} />}
            <EndpointsTable endpoints={shown} empty={filtered ? noneMatch : noEndpoint} />
            {endpoints && endpoints.length > 0 && !own && !filtered && noEndpoint}
          </section>
        </Stack>
      )}
    </>
  );
}
