import { Button } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { CopyableText } from "../../../components/Copy";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { PageSkeleton } from "../../../components/PageSkeleton";
import { BackLink } from "../parts/BackLink";
import { Facts } from "../parts/Facts";
import { Section } from "../parts/Section";
import { ActiveState, GroupLinks } from "./PrincipalCells";
import { isAdmin, useResource, valuesOf } from "./scim";
import { useUserActions } from "./useUserActions";

export function UserDetail({ id }: { id: string }) {
  const { t } = useTranslation(["settings", "common"]);
  const navigate = useNavigate();
  const user = useResource("Users", id);
  const { actionsOf, windows } = useUserActions(() => void navigate("/settings/users"));
  const back = <BackLink to="/settings/users" label={t("users.back")} />;
  if (user.isError) {
    return (
      <>
        {back}
        <ErrorPanel error={user.error} retry={() => void user.refetch()} />
      </>
    );
  }
  if (!user.data) return <PageSkeleton />;
  const found = user.data;
  return (
    <>
      {back}
      <Section
        title={found.userName}
        actions={actionsOf(found).map((action) => (
          <Button key={action.label} variant="default" onClick={action.run} c={action.dangerous ? "var(--mantine-color-error)" : undefined}>
            {action.label}
          </Button>
        ))}
      >
        <Facts
          label={found.userName}
          rows={[
            { name: t("identity.displayName"), value: found.displayName },
            { name: t("status"), value: <ActiveState active={found.active} /> },
            { name: t("identity.admin"), value: t(isAdmin(found) ? "common:yes" : "common:no") },
            { name: t("tabs.groups"), value: <GroupLinks groups={found.groups} /> },
            { name: t("identity.entitlements"), value: valuesOf(found.entitlements).join(", ") || "–" },
            { name: t("identity.id"), value: <CopyableText value={found.id} label={t("copyNamed", { name: t("identity.id") })} /> },
          ]}
        />
      </Section>
      {windows}
    </>
  );
}
