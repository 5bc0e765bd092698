import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { useSession } from "../../../api/queries";
import { ConfirmModal, notifyDone } from "../../../components/confirm";
import { CopyableText } from "../../../components/Copy";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { PageSkeleton } from "../../../components/PageSkeleton";
import { BackLink } from "../parts/BackLink";
import { Facts } from "../parts/Facts";
import { Section } from "../parts/Section";
import { GroupForm } from "./GroupForm";
import { GroupMembers } from "./GroupMembers";
import { GroupLinks } from "./PrincipalCells";
import { ADMINS, EVERYBODY, refreshIdentities, remove, useResource, valuesOf } from "./scim";

export function GroupDetail({ id }: { id: string }) {
  const { t } = useTranslation(["settings", "common"]);
  const navigate = useNavigate();
  const session = useSession();
  const group = useResource("Groups", id);
  const [renaming, rename] = useDisclosure();
  const [deleting, confirm] = useDisclosure();
  const back = <BackLink to="/settings/groups" label={t("groups.back")} />;
  if (group.isError) {
    return (
      <>
        {back}
        <ErrorPanel error={group.error} retry={() => void group.refetch()} />
      </>
    );
  }
  if (!group.data) return <PageSkeleton />;
  const found = group.data;
  const admin = session.data?.is_admin === true;
  const ofEveryWorkspace = found.displayName === ADMINS || found.displayName === EVERYBODY;
  const note = { [ADMINS]: t("groups.aboutAdmins"), [EVERYBODY]: t("groups.aboutEverybody") }[found.displayName];

  async function drop() {
    await remove("Groups", id);
    void navigate("/settings/groups");
    await refreshIdentities(id);
    notifyDone(t("deleted", { name: found.displayName }));
  }

  return (
    <>
      {back}
      <Section
        title={found.displayName}
        hint={note}
        actions={
          admin &&
          !ofEveryWorkspace && (
            <>
              <Button variant="default" onClick={rename.open}>
                {t("groups.rename")}
              </Button>
              <Button variant="default" c="var(--mantine-color-error)" onClick={confirm.open}>
                {t("common:delete")}
              </Button>
            </>
          )
        }
      >
        <Facts
          label={found.displayName}
          rows={[
            { name: t("groups.memberOf"), value: <GroupLinks groups={found.groups} /> },
            { name: t("identity.entitlements"), value: valuesOf(found.entitlements).join(", ") || "–" },
            { name: t("identity.id"), value: <CopyableText value={found.id} label={t("copyNamed", { name: t("identity.id") })} /> },
          ]}
        />
      </Section>
      <GroupMembers group={found} changeable={admin && found.displayName !== EVERYBODY} />
      <GroupForm opened={renaming} close={rename.close} group={found} />
      <ConfirmModal
        opened={deleting}
        close={confirm.close}
        title={t("groups.deleteTitle")}
        action={t("common:delete")}
        typed={found.displayName}
        run={drop}
      >
        {t("groups.deleteQuestion", { name: found.displayName })}
      </ConfirmModal>
    </>
  );
}
