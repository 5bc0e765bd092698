import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { useNavigate, useSearchParams } from "react-router";
import type { ScimServicePrincipal } from "../../../api/schema";
import { useSession } from "../../../api/queries";
import { CopyableText } from "../../../components/Copy";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { UrlSearch } from "../../../components/UrlSearch";
import { Section } from "../parts/Section";
import { ActiveState, CutList, NameLink } from "./PrincipalCells";
import { ADMINS, groupNames, isAdmin, PAGE_SIZE, useList } from "./scim";
import { ServicePrincipalDetail } from "./ServicePrincipalDetail";
import { ServicePrincipalForm } from "./ServicePrincipalForm";
import { useServerRows } from "./useServerRows";

export default function ServicePrincipalsTab() {
  const [params] = useSearchParams();
  const id = params.get("principal");
  return id ? <ServicePrincipalDetail id={id} /> : <ServicePrincipals />;
}

function ServicePrincipals() {
  const { t } = useTranslation(["settings", "common"]);
  const session = useSession();
  const navigate = useNavigate();
  const { searching, ...query } = useServerRows(["displayName", "applicationId"], "displayName");
  const principals = useList("ServicePrincipals", query);
  const [opened, { open, close }] = useDisclosure();
  const admin = session.data?.is_admin === true;
  const nothing = principals.data?.totalResults === 0 && !searching;
  const createButton = admin && <Button onClick={open}>{t("principals.create")}</Button>;

  const columns: Column<ScimServicePrincipal>[] = [
    {
      key: "displayName",
      title: t("common:name"),
      sortedByServer: true,
      width: "35%",
      minWidth: 150,
      cell: (principal) => <NameLink name={principal.displayName} to={`?principal=${encodeURIComponent(principal.id)}`} />,
    },
    {
      key: "applicationId",
      title: t("principals.applicationId"),
      sortedByServer: true,
      cell: (principal) => (
        <CopyableText value={principal.applicationId} label={t("principals.copyApplicationId", { name: principal.displayName })} />
      ),
    },
    { key: "active", title: t("status"), sortedByServer: true, cell: (principal) => <ActiveState active={principal.active} /> },
    { key: "admin", title: t("identity.admin"), cell: (principal) => (isAdmin(principal) ? t("common:yes") : "–") },
    {
      key: "groups",
      title: t("tabs.groups"),
      width: "25%",
      minWidth: 100,
      cell: (principal) => <CutList values={groupNames(principal).filter((name) => name !== ADMINS)} />,
    },
  ];

  return (
    <Section
      title={t("tabs.service-principals")}
      hint={t(admin ? "principals.hint" : "identity.readOnly")}
      actions={
        !nothing && (
          <>
            <UrlSearch label={t("principals.search")} />
            {createButton}
          </>
        )
      }
    >
      {principals.isError ? (
        <ErrorPanel error={principals.error} retry={() => void principals.refetch()} />
      ) : (
        <DataTable
          columns={columns}
          rows={principals.data?.Resources}
          total={principals.data?.totalResults ?? 0}
          pageSize={PAGE_SIZE}
          rowKey={(principal) => principal.id}
          label={t("tabs.service-principals")}
          defaultSort="displayName"
          empty={
            nothing ? (
              <EmptyState title={t("principals.none")} action={createButton}>
                {t("principals.noneHint")}
              </EmptyState>
            ) : (
              <EmptyState title={t("noMatch")}>{t("noMatchHint")}</EmptyState>
            )
          }
        />
      )}
      <ServicePrincipalForm
        opened={opened}
        close={close}
        created={(principal) => void navigate(`?principal=${encodeURIComponent(principal.id)}`)}
      />
    </Section>
  );
}
