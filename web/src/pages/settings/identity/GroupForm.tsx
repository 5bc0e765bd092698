import { TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ScimGroup } from "../../../api/schema";
import { notifyDone } from "../../../components/confirm";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { create, patch, refreshIdentities } from "./scim";

interface Props {
  opened: boolean;
  close: () => void;
  /** The one to rename; without it one is made. */
  group?: ScimGroup;
  created?: (group: ScimGroup) => void;
}

export function GroupForm({ opened, close, group, created }: Props) {
  const { t } = useTranslation("settings");
  return (
    <FormModal opened={opened} close={close} title={group ? t("groups.renameTitle", { name: group.displayName }) : t("groups.create")}>
      <Fields close={close} group={group} created={created} />
    </FormModal>
  );
}

function Fields({ close, group, created }: Omit<Props, "opened">) {
  const { t } = useTranslation(["settings", "common"]);
  const [name, setName] = useState(group?.displayName ?? "");

  async function run() {
    const wanted = name.trim();
    if (group) await patch("Groups", group.id, [{ op: "replace", path: "displayName", value: wanted }]);
    const made = group ? undefined : await create("Groups", { displayName: wanted });
    await refreshIdentities();
    notifyDone(group ? t("common:saved") : t("groups.created", { name: wanted }));
    close();
    if (made) created?.(made);
  }

  return (
    <SubmitForm fields={["displayName"]} action={group ? t("common:save") : t("create")} cancel={close} run={run}>
      {(said) => (
        <TextInput
          label={t("groups.name")}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
          error={said("displayName")}
          required
          autoComplete="off"
          data-autofocus
        />
      )}
    </SubmitForm>
  );
}
