import { TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ScimUser } from "../../../api/schema";
import { useSession } from "../../../api/queries";
import { notifyDone } from "../../../components/confirm";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { PrincipalFields, type PrincipalValues } from "./PrincipalFields";
import { create, directGroups, patch, refreshIdentities, setGroups, valuesOf } from "./scim";

interface Props {
  opened: boolean;
  close: () => void;
  /** The one to change; without it one is made. */
  user?: ScimUser;
}

/** Makes a user, or changes one. */
export function UserForm({ opened, close, user }: Props) {
  const { t } = useTranslation("settings");
  return (
    <FormModal opened={opened} close={close} title={user ? t("users.edit", { name: user.userName }) : t("users.create")}>
      <Fields close={close} user={user} />
    </FormModal>
  );
}

function Fields({ close, user }: Pick<Props, "close" | "user">) {
  const { t } = useTranslation(["settings", "common"]);
  const session = useSession();
  const [userName, setUserName] = useState("");
  const [displayName, setDisplayName] = useState(user?.displayName ?? "");
  const [values, setValues] = useState<PrincipalValues>({
    active: user?.active ?? true,
    entitlements: user ? valuesOf(user.entitlements) : [],
    groups: user ? directGroups(user) : [],
  });

  async function make() {
    await create("Users", {
      userName: userName.trim(),
      displayName: displayName.trim() || undefined,
      active: values.active,
      entitlements: values.entitlements.map((value) => ({ value })),
      groups: values.groups.map((value) => ({ value })),
    });
  }

  async function change(before: ScimUser) {
    await patch("Users", before.id, [
      { op: "replace", path: "displayName", value: displayName.trim() },
      { op: "replace", path: "active", value: values.active },
      { op: "replace", path: "entitlements", value: values.entitlements.map((value) => ({ value })) },
    ]);
    await setGroups(before.id, directGroups(before), values.groups);
  }

  async function run() {
    try {
      await (user ? change(user) : make());
    } finally {
      await refreshIdentities(); // of several changes some may have been made
    }
    notifyDone(user ? t("common:saved") : t("users.created", { name: userName.trim() }));
    close();
  }

  return (
    <SubmitForm
      fields={["userName", "displayName", "active", "entitlements", "groups", "members"]}
      action={user ? t("common:save") : t("create")}
      cancel={close}
      run={run}
    >
      {(said) => (
        <>
          {!user && (
            <TextInput
              label={t("users.userName")}
              description={t("users.userNameHint")}
              value={userName}
              onChange={(event) => setUserName(event.currentTarget.value)}
              error={said("userName")}
              required
              autoComplete="off"
              data-autofocus
            />
          )}
          <TextInput
            label={t("identity.displayName")}
            value={displayName}
            onChange={(event) => setDisplayName(event.currentTarget.value)}
            error={said("displayName")}
            autoComplete="off"
            data-autofocus={user ? true : undefined}
          />
          <PrincipalFields values={values} set={setValues} said={said} self={user !== undefined && user.id === session.data?.user_id} />
        </>
      )}
    </SubmitForm>
  );
}
