import { Box, Tabs } from "@mantine/core";
import { type ComponentType, lazy, type LazyExoticComponent, Suspense, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useParams } from "react-router";
import { ApiError } from "../../api/client";
import { useFollow } from "../../api/follow";
import { queryClient, useEndpoint } from "../../api/queries";
import type { EndpointDetail } from "../../api/schema";
import { ErrorBoundary } from "../../components/ErrorBoundary";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageHeader } from "../../components/PageHeader";
import { PageSkeleton } from "../../components/PageSkeleton";
import { endpointPath } from "./endpointKind";
import { EndpointHeader } from "./EndpointHeader";
import { EndpointNotices } from "./EndpointNotices";
import OverviewTab from "./OverviewTab";

type Tab = LazyExoticComponent<ComponentType<{ endpoint: EndpointDetail }>> | typeof OverviewTab;

const TABS: Record<string, Tab> = {
  overview: OverviewTab,
  query: lazy(() => import("../query/QueryTab")),
  metrics: lazy(() => import("../metrics/MetricsTab")),
  logs: lazy(() => import("../logs/LogsTab")),
  events: lazy(() => import("../logs/EventsTab")),
  "inference-table": lazy(() => import("../tables/InferenceTableTab")),
  settings: lazy(() => import("./settings/SettingsTab")),
};

/** One serving endpoint: its state and what can be done at the top, and all that there is to see of it in tabs. */
export default function EndpointPage() {
  const { t } = useTranslation(["endpoint", "common"]);
  const { name = "", tab = "overview" } = useParams();
  // While it is being deleted nothing asks for it: the answer would be that it is gone.
  const [removing, setRemoving] = useState(false);
  const { data: endpoint, error, refetch } = useEndpoint(name, !removing);
  // Updates may be shorter than the time between two looks at a settled endpoint: its events say when to look.
  const events = endpoint && !removing ? `/api/2.0/serving-endpoints/${encodeURIComponent(name)}/events/stream` : null;
  const look = () => void queryClient.invalidateQueries({ queryKey: ["endpoint", name], exact: true });
  useFollow(events, ["event"], look, { resumable: true });
  const crumbs = [{ label: t("common:nav.serving"), to: "/ml/endpoints" }];

  // A server that is away for a moment does not take away what is shown; an endpoint that is gone does.
  const gone = error instanceof ApiError && error.status < 500;
  if (error && (gone || !endpoint)) {
    return (
      <>
        <PageHeader title={name} crumbs={crumbs} />
        <ErrorPanel error={error} retry={() => void refetch()} />
      </>
    );
  }
  if (!endpoint) return <PageSkeleton />;
  return (
    <>
      <EndpointHeader endpoint={endpoint} crumbs={crumbs} onRemoving={setRemoving} />
      {!removing && <EndpointTabs endpoint={endpoint} tab={tab} />}
    </>
  );
}

function EndpointTabs({ endpoint, tab }: { endpoint: EndpointDetail; tab: string }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const navigate = useNavigate();
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // Where not all tabs have room, the one that is open is to be seen.
    list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [tab]);
  const shown = tab in TABS ? tab : null;
  return (
    <>
      <EndpointNotices endpoint={endpoint} />
      <Tabs
        value={shown}
        onChange={(to) => to && void navigate(endpointPath(endpoint.name, to === "overview" ? undefined : to))}
        keepMounted={false}
        mt="sm"
      >
        <Box ref={list} mb="md" style={{ overflowX: "auto", overflowY: "hidden" }}>
          <Tabs.List miw="max-content" style={{ flexWrap: "nowrap" }} aria-label={t("tabs.label")}>
            {Object.keys(TABS).map((key) => (
              <Tabs.Tab key={key} value={key} px="sm">
                {t(`tabs.${key}`)}
              </Tabs.Tab>
            ))}
          </Tabs.List>
        </Box>
        {Object.entries(TABS).map(([key, Content]) => (
          <Tabs.Panel key={key} value={key}>
            <ErrorBoundary>
              <Suspense fallback={<PageSkeleton />}>
                <Content endpoint={endpoint} />
              </Suspense>
            </ErrorBoundary>
          </Tabs.Panel>
        ))}
        {!shown && <ErrorPanel error={new ApiError(404, "NOT_FOUND", t("common:error.noPage"))} />}
      </Tabs>
    </>
  );
}
