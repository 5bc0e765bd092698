import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { useNavigate, useSearchParams } from "react-router";
import type { ScimGroup } from "../../../api/schema";
import { useSession } from "../../../api/queries";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { UrlSearch } from "../../../components/UrlSearch";
import { Section } from "../parts/Section";
import { GroupDetail } from "./GroupDetail";
import { GroupForm } from "./GroupForm";
import { CutList, NameLink } from "./PrincipalCells";
import { PAGE_SIZE, useList, valuesOf } from "./scim";
import { useServerRows } from "./useServerRows";

export default function GroupsTab() {
  const [params] = useSearchParams();
  const id = params.get("group");
  return id ? <GroupDetail id={id} /> : <Groups />;
}

function Groups() {
  const { t, i18n } = useTranslation("settings");
  const session = useSession();
  const navigate = useNavigate();
  const { searching, ...query } = useServerRows(["displayName"], "displayName");
  const groups = useList("Groups", query);
  const [opened, { open, close }] = useDisclosure();
  const admin = session.data?.is_admin === true;
  const number = new Intl.NumberFormat(i18n.language);

  const columns: Column<ScimGroup>[] = [
    {
      key: "displayName",
      title: t("groups.name"),
      sortedByServer: true,
      width: "40%",
      minWidth: 150,
      cell: (group) => <NameLink name={group.displayName} to={`?group=${encodeURIComponent(group.id)}`} />,
    },
    { key: "members", title: t("groups.members"), align: "right", width: 130, cell: (group) => number.format(group.members.length) },
    {
      key: "groups",
      title: t("groups.memberOf"),
      width: "25%",
      minWidth: 100,
      cell: (group) => <CutList values={group.groups.flatMap(({ display }) => (display ? [display] : []))} />,
    },
    {
      key: "entitlements",
      title: t("identity.entitlements"),
      width: "25%",
      minWidth: 110,
      cell: (group) => <CutList values={valuesOf(group.entitlements)} />,
    },
  ];

  return (
    <Section
      title={t("tabs.groups")}
      hint={t(admin ? "groups.hint" : "identity.readOnly")}
      actions={
        <>
          <UrlSearch label={t("groups.search")} />
          {admin && <Button onClick={open}>{t("groups.create")}</Button>}
        </>
      }
    >
      {groups.isError ? (
        <ErrorPanel error={groups.error} retry={() => void groups.refetch()} />
      ) : (
        <DataTable
          columns={columns}
          rows={groups.data?.Resources}
          total={groups.data?.totalResults ?? 0}
          pageSize={PAGE_SIZE}
          rowKey={(group) => group.id}
          label={t("tabs.groups")}
          defaultSort="displayName"
          empty={<EmptyState title={t(searching ? "noMatch" : "groups.none")}>{searching && t("noMatchHint")}</EmptyState>}
        />
      )}
      <GroupForm opened={opened} close={close} created={(group) => void navigate(`?group=${encodeURIComponent(group.id)}`)} />
    </Section>
  );
}
