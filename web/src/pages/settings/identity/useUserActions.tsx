import { useTranslation } from "react-i18next";
import type { ScimUser } from "../../../api/schema";
import { useSession } from "../../../api/queries";
import { ConfirmModal, notifyDone, notifyFailed } from "../../../components/confirm";
import type { RowAction } from "../parts/RowMenu";
import { useTarget } from "../parts/useTarget";
import { patch, refreshIdentities, remove } from "./scim";
import { UserForm } from "./UserForm";

/** What an admin can do with a user, and the windows that ask about it. */
export function useUserActions(deleted?: () => void) {
  const { t } = useTranslation(["settings", "common"]);
  const session = useSession();
  const editing = useTarget<ScimUser>();
  const deactivating = useTarget<ScimUser>();
  const deleting = useTarget<ScimUser>();

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
    return [
      edit,
      user.active
        ? { label: t("identity.deactivate"), run: () => deactivating.ask(user) }
        : { label: t("identity.activate"), run: () => void setActive(user, true).catch(notifyFailed) },
      { label: t("common:delete"), run: () => deleting.ask(user), dangerous: true },
    ];
  }

  const windows = (
    <>
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
