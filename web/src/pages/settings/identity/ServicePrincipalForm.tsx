import { TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ScimServicePrincipal } from "../../../api/schema";
import { notifyDone } from "../../../components/confirm";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { PrincipalFields, type PrincipalValues } from "./PrincipalFields";
import { create, directGroups, patch, refreshIdentities, setGroups, valuesOf } from "./scim";

interface Props {
  opened: boolean;
  close: () => void;
  /** The one to change; without it one is made. */
  principal?: ScimServicePrincipal;
  created?: (principal: ScimServicePrincipal) => void;
}

/** Makes a service principal, or changes one. */
export function ServicePrincipalForm({ opened, close, principal, created }: Props) {
  const { t } = useTranslation("settings");
  const title = principal ? t("principals.edit", { name: principal.displayName }) : t("principals.create");
  return (
    <FormModal opened={opened} close={close} title={title}>
      <Fields close={close} principal={principal} created={created} />
    </FormModal>
  );
}

function Fields({ close, principal, created }: Omit<Props, "opened">) {
  const { t } = useTranslation(["settings", "common"]);
  const [displayName, setDisplayName] = useState(principal?.displayName ?? "");
  const [values, setValues] = useState<PrincipalValues>({
    active: principal?.active ?? true,
    entitlements: principal ? valuesOf(principal.entitlements) : [],
    groups: principal ? directGroups(principal) : [],
  });

  async function change(before: ScimServicePrincipal) {
    await patch("ServicePrincipals", before.id, [
      { op: "replace", path: "displayName", value: displayName.trim() },
      { op: "replace", path: "active", value: values.active },
      { op: "replace", path: "entitlements", value: values.entitlements.map((value) => ({ value })) },
    ]);
    await setGroups(before.id, directGroups(before), values.groups);
  }

  async function make() {
    return create("ServicePrincipals", {
      displayName: displayName.trim(),
      active: values.active,
      entitlements: values.entitlements.map((value) => ({ value })),
      groups: values.groups.map((value) => ({ value })),
    });
  }

  async function run() {
    let made: ScimServicePrincipal | undefined;
    try {
      if (principal) await change(principal);
      else made = await make();
    } finally {
      await refreshIdentities(); // of several changes some may have been made
    }
    notifyDone(principal ? t("common:saved") : t("principals.created", { name: displayName.trim() }));
    close();
    if (made) created?.(made);
  }

  return (
    <SubmitForm
      fields={["displayName", "active", "entitlements", "groups", "members"]}
      action={principal ? t("common:save") : t("create")}
      cancel={close}
      run={run}
    >
      {(said) => (
        <>
          <TextInput
            label={t("common:name")}
            value={displayName}
            onChange={(event) => setDisplayName(event.currentTarget.value)}
            error={said("displayName")}
            required
            autoComplete="off"
            data-autofocus
          />
          <PrincipalFields values={values} set={setValues} said={said} />
        </>
      )}
    </SubmitForm>
  );
}
