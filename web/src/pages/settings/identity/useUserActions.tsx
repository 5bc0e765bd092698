import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import type { ScimUser, SignInLink as Link } from "../../../api/schema";
import { useSession } from "../../../api/queries";
import { ConfirmModal, notifyDone, notifyFailed } from "../../../components/confirm";
import type { RowAction } from "../parts/RowMenu";
import { useTarget } from "../parts/useTarget";
import { patch, refreshIdentities, remove } from "./scim";
import { SignInLink } from "./SignInLink";
import { UserForm } from "./UserForm";

/** What an admin can do with a user, and the windows that ask about it. */
export function useUserActions(deleted?: () => void) {
  const { t } = useTranslation(["settings", "common"]);
  const session = useSession();
  const editing = useTarget<ScimUser>();
  const deactivating = useTarget<ScimUser>();
  const deleting = useTarget<ScimUser>();

  const [invited, setInvited] = useState<{ link: Link; userName: string } | null>(null);

  async function invite(user: ScimUser) {
    const link = await unwrap(client.POST("/api/2.0/moorage/sign-in-links", { body: { user_name: user.userName } }));
    setInvited({ link, userName: user.userName });
  }

  async function setActive(user: ScimUser, active: boolean) {
    await patch("Users", user.id, [{ op: "replace", path: "active", value: active }]);
    await refreshIdentities();
    notifyDone(t(active ? "identity.activated" : "identity.deactivated", { name: user.userName }));
  }

  async function drop(user: ScimUser) {
    await remove("Users", user.id);
    deleted?.();
    await refreshIdentities(user.id);
    notifyDone(t("deleted", { name: user.userName }));
  }

  function actionsOf(user: ScimUser): RowAction[] {
    if (!session.data?.is_admin) return [];
    const edit = { label: t("common:edit"), run: () => editing.ask(user) };
    if (user.id === session.data.user_id) return [edit];
    const link = { label: t("signInLink.link"), run: () => void invite(user).catch(notifyFailed) };
    return [
      edit,
      ...(user.active ? [link] : []),
      user.active
        ? { label: t("identity.deactivate"), run: () => deactivating.ask(user) }
        : { label: t("identity.activate"), run: () => void setActive(user, true).catch(notifyFailed) },
      { label: t("common:delete"), run: () => deleting.ask(user), dangerous: true },
    ];
  }

  const windows = (
    <>
      <SignInLink link={invited?.link ?? null} userName={invited?.userName ?? ""} close={() => setInvited(null)} />
      <UserForm opened={editing.opened} close={editing.close} user={editing.target} />
      <ConfirmModal
        opened={deactivating.opened}
        close={deactivating.close}
        title={t("users.deactivateTitle")}
        action={t("identity.deactivate")}
        run={async () => deactivating.target && setActive(deactivating.target, false)}
      >
        {t("users.deactivateQuestion", { name: deactivating.target?.userName })}
      </ConfirmModal>
      <ConfirmModal
        opened={deleting.opened}
        close={deleting.close}
        title={t("users.deleteTitle")}
        action={t("common:delete")}
        typed={deleting.target?.userName}
        run={async () => deleting.target && drop(deleting.target)}
      >
        {t("users.deleteQuestion", { name: deleting.target?.userName })}
      </ConfirmModal>
    </>
  );
  return { actionsOf, windows };
}
