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
import { OAuthSecrets } from "./OAuthSecrets";
import { ActiveState, GroupLinks } from "./PrincipalCells";
import { isAdmin, refreshIdentities, remove, useResource, valuesOf } from "./scim";
import { ServicePrincipalForm } from "./ServicePrincipalForm";
import { ServicePrincipalTokens } from "./ServicePrincipalTokens";

export function ServicePrincipalDetail({ id }: { id: string }) {
  const { t } = useTranslation(["settings", "common"]);
  const navigate = useNavigate();
  const session = useSession();
  const principal = useResource("ServicePrincipals", id);
  const [editing, edit] = useDisclosure();
  const [deleting, confirm] = useDisclosure();
  const back = <BackLink to="/settings/service-principals" label={t("principals.back")} />;
  if (principal.isError) {
    return (
      <>
        {back}
        <ErrorPanel error={principal.error} retry={() => void principal.refetch()} />
      </>
    );
  }
  if (!principal.data) return <PageSkeleton />;
  const found = principal.data;
  const admin = session.data?.is_admin === true;

  async function drop() {
    await remove("ServicePrincipals", id);
    void navigate("/settings/service-principals");
    await refreshIdentities(id);
    notifyDone(t("deleted", { name: found.displayName }));
  }

  return (
    <>
      {back}
      <Section
        title={found.displayName}
        actions={
          admin && (
            <>
              <Button variant="default" onClick={edit.open}>
                {t("common:edit")}
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
            {
              name: t("principals.applicationId"),
              value: <CopyableText value={found.applicationId} label={t("copyNamed", { name: t("principals.applicationId") })} />,
            },
            { name: t("status"), value: <ActiveState active={found.active} /> },
            { name: t("identity.admin"), value: t(isAdmin(found) ? "common:yes" : "common:no") },
            { name: t("tabs.groups"), value: <GroupLinks groups={found.groups} /> },
            { name: t("identity.entitlements"), value: valuesOf(found.entitlements).join(", ") || "–" },
            { name: t("identity.id"), value: <CopyableText value={found.id} label={t("copyNamed", { name: t("identity.id") })} /> },
          ]}
        />
      </Section>
      {admin && <OAuthSecrets principal={found} />}
      {admin && <ServicePrincipalTokens principal={found} />}
      <ServicePrincipalForm opened={editing} close={edit.close} principal={found} />
      <ConfirmModal
        opened={deleting}
        close={confirm.close}
        title={t("principals.deleteTitle")}
        action={t("common:delete")}
        typed={found.displayName}
        run={drop}
      >
        {t("principals.deleteQuestion", { name: found.displayName })}
      </ConfirmModal>
    </>
  );
}
