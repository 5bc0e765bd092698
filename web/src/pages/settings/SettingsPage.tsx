import { ScrollArea, Tabs } from "@mantine/core";
import { type ComponentType, lazy, Suspense, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useParams } from "react-router";
import { ApiError } from "../../api/client";
import { useSession } from "../../api/queries";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageHeader } from "../../components/PageHeader";
import { PageSkeleton } from "../../components/PageSkeleton";

interface Tab {
  key: string;
  page: ComponentType;
  adminsOnly?: boolean;
}

const TABS: Tab[] = [
  { key: "tokens", page: lazy(() => import("./tokens/TokensTab")) },
  { key: "secrets", page: lazy(() => import("./secrets/SecretsTab")) },
  { key: "users", page: lazy(() => import("./identity/UsersTab")) },
  { key: "groups", page: lazy(() => import("./identity/GroupsTab")) },
  { key: "service-principals", page: lazy(() => import("./identity/ServicePrincipalsTab")) },
  { key: "audit", page: lazy(() => import("./audit/AuditTab")), adminsOnly: true },
  { key: "usage", page: lazy(() => import("./usage/UsageTab")) },
  { key: "about", page: lazy(() => import("./about/AboutTab")) },
];

export default function SettingsPage() {
  const { t } = useTranslation(["settings", "common"]);
  const { tab = "tokens" } = useParams();
  const navigate = useNavigate();
  const session = useSession();
  const current = TABS.find((one) => one.key === tab);
  const shown = TABS.filter((one) => !one.adminsOnly || session.data?.is_admin || one === current);
  const list = useRef<HTMLDivElement>(null);
  const { length } = shown;
  // Where the tabs do not all fit, the current one is among those in sight.
  useEffect(() => {
    list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [tab, length]);
  return (
    <>
      <PageHeader title={t("title")} />
      {!current ? (
        <ErrorPanel error={new ApiError(404, "NOT_FOUND", t("common:error.noPage"))} />
      ) : (
        <Tabs value={tab} onChange={(to) => void navigate(`/settings/${to}`)} keepMounted={false}>
          <ScrollArea type="auto" scrollbars="x" offsetScrollbars="present" mb="md" viewportProps={{ "aria-label": t("title") }}>
            <Tabs.List ref={list} style={{ flexWrap: "nowrap" }}>
              {shown.map(({ key }) => (
                <Tabs.Tab key={key} value={key} style={{ whiteSpace: "nowrap" }}>
                  {t(`tabs.${key}`)}
                </Tabs.Tab>
              ))}
            </Tabs.List>
          </ScrollArea>
          {shown.map(({ key, page: Page }) => (
            <Tabs.Panel key={key} value={key}>
              <Suspense fallback={<PageSkeleton />}>
                <Page />
              </Suspense>
            </Tabs.Panel>
          ))}
        </Tabs>
      )}
    </>
  );
}
