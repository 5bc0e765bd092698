import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ComplexValue, ScimGroup } from "../../../api/schema";
import { ConfirmModal, notifyDone } from "../../../components/confirm";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { UrlSearch, useUrlValue } from "../../../components/UrlSearch";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { Section } from "../parts/Section";
import { useTarget } from "../parts/useTarget";
import type { PrincipalKind } from "./directory";
import { NameLink } from "./PrincipalCells";
import { PrincipalSelect } from "./PrincipalSelect";
import { addMembers, refreshIdentities, removeMember, valuesOf } from "./scim";

/** What a member is, by the collection that it is of, and where it is shown. */
function placeOf(member: ComplexValue): { kind: PrincipalKind; to: string } {
  const id = encodeURIComponent(member.value ?? "");
  if (member.$ref?.startsWith("Groups/")) return { kind: "group", to: `/settings/groups?group=${id}` };
  if (member.$ref?.startsWith("ServicePrincipals/")) {
    return { kind: "servicePrincipal", to: `/settings/service-principals?principal=${id}` };
  }
  return { kind: "user", to: `/settings/users?user=${id}` };
}

const nameOf = (member: ComplexValue) => member.display ?? member.value ?? "";

export function GroupMembers({ group, changeable }: { group: ScimGroup; changeable: boolean }) {
  const { t } = useTranslation(["settings", "common"]);
  const [wanted] = useUrlValue("q");
  const [adding, add] = useDisclosure();
  const removing = useTarget<ComplexValue>();
  const found = group.members.filter((member) => nameOf(member).toLowerCase().includes(wanted.toLowerCase()));

  const columns: Column<ComplexValue>[] = [
    {
      key: "name",
      title: t("common:name"),
      sortBy: nameOf,
      width: "55%",
      minWidth: 140,
      cell: (member) => <NameLink name={nameOf(member)} to={placeOf(member).to} />,
    },
    {
      key: "kind",
      title: t("kind"),
      sortBy: (member) => t(`kind1.${placeOf(member).kind}`),
      cell: (member) => t(`kind1.${placeOf(member).kind}`),
    },
  ];
  if (changeable) {
    columns.push({
      key: "remove",
      title: t("actions"),
      titleHidden: true,
      align: "right",
      cell: (member) => (
        <Button
          size="compact-sm"
          variant="default"
          onClick={() => removing.ask(member)}
          aria-label={t("groups.removeNamed", { name: nameOf(member) })}
        >
          {t("common:remove")}
        </Button>
      ),
    });
  }

  const addButton = changeable && <Button onClick={add.open}>{t("groups.add")}</Button>;
  return (
    <Section
      title={t("groups.members")}
      actions={
        group.members.length > 0 && (
          <>
            <UrlSearch label={t("groups.searchMembers")} />
            {addButton}
          </>
        )
      }
    >
      <DataTable
        columns={columns}
        rows={found}
        rowKey={(member) => member.value ?? ""}
        label={t("groups.members")}
        defaultSort="name"
        empty={
          group.members.length > 0 ? (
            <EmptyState title={t("noMatch")}>{t("noMatchHint")}</EmptyState>
          ) : (
            <EmptyState title={t("groups.noMembers")} action={addButton}>
              {t("groups.noMembersHint")}
            </EmptyState>
          )
        }
      />
      <FormModal opened={adding} close={add.close} title={t("groups.addTitle", { name: group.displayName })}>
        <AddMember group={group} close={add.close} />
      </FormModal>
      <ConfirmModal
        opened={removing.opened}
        close={removing.close}
        title={t("groups.removeTitle")}
        action={t("common:remove")}
        run={async () => {
          if (!removing.target?.value) return;
          await removeMember(group.id, removing.target.value);
          await refreshIdentities();
          notifyDone(t("common:saved"));
        }}
      >
        {t("groups.removeQuestion", { name: removing.target && nameOf(removing.target), group: group.displayName })}
      </ConfirmModal>
    </Section>
  );
}

function AddMember({ group, close }: { group: ScimGroup; close: () => void }) {
  const { t } = useTranslation(["settings", "common"]);
  const [chosen, setChosen] = useState<string | null>(null);
  const held = new Set(valuesOf(group.members));

  async function run() {
    if (!chosen) return;
    await addMembers(group.id, [chosen]);
    await refreshIdentities();
    notifyDone(t("common:saved"));
    close();
  }

  return (
    <SubmitForm fields={["members"]} action={t("common:add")} cancel={close} run={run} disabled={!chosen}>
      {(said) => (
        <PrincipalSelect
          label={t("groups.member")}
          by="id"
          value={chosen}
          onChange={setChosen}
          without={(one) => held.has(one.id) || one.id === group.id}
          error={said("members")}
        />
      )}
    </SubmitForm>
  );
}
