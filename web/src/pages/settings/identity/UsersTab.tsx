import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "react-router";
import type { ScimUser } from "../../../api/schema";
import { useSession } from "../../../api/queries";
import { Cut } from "../../../components/Cut";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { UrlSearch } from "../../../components/UrlSearch";
import { RowMenu } from "../parts/RowMenu";
import { Section } from "../parts/Section";
import { ActiveState, CutList, NameLink } from "./PrincipalCells";
import { ADMINS, groupNames, isAdmin, PAGE_SIZE, useList, valuesOf } from "./scim";
import { UserDetail } from "./UserDetail";
import { UserForm } from "./UserForm";
import { useServerRows } from "./useServerRows";
import { useUserActions } from "./useUserActions";

export default function UsersTab() {
  const [params] = useSearchParams();
  const id = params.get("user");
  return id ? <UserDetail id={id} /> : <Users />;
}

function Users() {
  const { t } = useTranslation("settings");
  const session = useSession();
  const { searching, ...query } = useServerRows(["userName", "displayName"], "userName");
  const users = useList("Users", query);
  const [opened, { open, close }] = useDisclosure();
  const { actionsOf, windows } = useUserActions();
  const admin = session.data?.is_admin === true;

  const columns: Column<ScimUser>[] = [
    {
      key: "userName",
      title: t("users.userName"),
      sortedByServer: true,
      width: "30%",
      minWidth: 150,
      cell: (user) => <NameLink name={user.userName} to={`?user=${encodeURIComponent(user.id)}`} />,
    },
    {
      key: "displayName",
      title: t("identity.displayName"),
      sortedByServer: true,
      width: "22%",
      minWidth: 120,
      cell: (user) => <Cut width="100%" text={user.displayName} />,
    },
    { key: "active", title: t("status"), sortedByServer: true, cell: (user) => <ActiveState active={user.active} /> },
    { key: "admin", title: t("identity.admin"), cell: (user) => (isAdmin(user) ? t("common:yes") : "–") },
    {
      key: "groups",
      title: t("tabs.groups"),
      width: "18%",
      minWidth: 100,
      cell: (user) => <CutList values={groupNames(user).filter((name) => name !== ADMINS)} />,
    },
    {
      key: "entitlements",
      title: t("identity.entitlements"),
      width: "18%",
      minWidth: 110,
      cell: (user) => <CutList values={valuesOf(user.entitlements)} />,
    },
  ];
  if (admin) {
    columns.push({
      key: "actions",
      title: t("actions"),
      titleHidden: true,
      align: "right",
      cell: (user) => <RowMenu label={t("actionsOf", { name: user.userName })} actions={actionsOf(user)} />,
    });
  }

  return (
    <Section
      title={t("tabs.users")}
      hint={t(admin ? "users.hint" : "identity.readOnly")}
      actions={
        <>
          <UrlSearch label={t("users.search")} />
          {admin && <Button onClick={open}>{t("users.create")}</Button>}
        </>
      }
    >
      {users.isError ? (
        <ErrorPanel error={users.error} retry={() => void users.refetch()} />
      ) : (
        <DataTable
          columns={columns}
          rows={users.data?.Resources}
          total={users.data?.totalResults ?? 0}
          pageSize={PAGE_SIZE}
          rowKey={(user) => user.id}
          label={t("tabs.users")}
          defaultSort="userName"
          empty={<EmptyState title={t(searching ? "noMatch" : "users.none")}>{searching && t("noMatchHint")}</EmptyState>}
        />
      )}
      {windows}
      <UserForm opened={opened} close={close} />
    </Section>
  );
}
