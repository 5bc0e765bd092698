import { MultiSelect, Switch, TagsInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { LISTBOX_SCROLLS } from "../parts/listbox";
import { ADMINS, EVERYBODY, useGroupNames } from "./scim";

// Those that Databricks has; any other text is one as well.
const ENTITLEMENTS = ["workspace-access", "databricks-sql-access", "allow-cluster-create", "allow-instance-pool-create"];

export interface PrincipalValues {
  active: boolean;
  entitlements: string[];
  /** Ids, that of the administrators among them. */
  groups: string[];
}

interface Props {
  values: PrincipalValues;
  set: (values: PrincipalValues) => void;
  said: (field: string) => string | undefined;
  /** What nobody does to oneself. */
  self?: boolean;
}

/** What users and service principals have in common: whether they may sign in, their groups, their entitlements. */
export function PrincipalFields({ values, set, said, self = false }: Props) {
  const { t } = useTranslation("settings");
  const groups = useGroupNames();
  const admins = groups.data?.find((group) => group.displayName === ADMINS)?.id;
  const others = (groups.data ?? []).filter((group) => group.displayName !== ADMINS && group.displayName !== EVERYBODY);
  const isAdmin = admins !== undefined && values.groups.includes(admins);

  function setAdmin(wanted: boolean) {
    if (admins === undefined) return;
    const rest = values.groups.filter((id) => id !== admins);
    set({ ...values, groups: wanted ? [...rest, admins] : rest });
  }

  return (
    <>
      <Switch
        label={t("identity.activeLabel")}
        description={self ? t("identity.notOneself") : t("identity.activeHint")}
        checked={values.active}
        onChange={(event) => set({ ...values, active: event.currentTarget.checked })}
        disabled={self}
        error={said("active")}
      />
      <Switch
        label={t("identity.adminLabel")}
        description={self ? t("identity.notOneself") : t("identity.adminHint")}
        checked={isAdmin}
        onChange={(event) => setAdmin(event.currentTarget.checked)}
        disabled={self || admins === undefined}
      />
      <MultiSelect
        label={t("tabs.groups")}
        data={others.map((group) => ({ value: group.id, label: group.displayName }))}
        value={values.groups.filter((id) => id !== admins)}
        onChange={(chosen) => set({ ...values, groups: isAdmin && admins ? [...chosen, admins] : chosen })}
        nothingFoundMessage={t("noMatch")}
        searchable
        clearable
        {...LISTBOX_SCROLLS}
        clearButtonProps={{ "aria-label": t("identity.clearGroups") }}
        error={said("groups") ?? said("members")}
      />
      <TagsInput
        label={t("identity.entitlements")}
        description={t("identity.entitlementsHint")}
        data={ENTITLEMENTS}
        value={values.entitlements}
        onChange={(entitlements) => set({ ...values, entitlements })}
        clearable
        clearButtonProps={{ "aria-label": t("identity.clearEntitlements") }}
        error={said("entitlements")}
      />
    </>
  );
}
