import { Button, Group, Input, SegmentedControl, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useId, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, client, unwrap } from "../../../api/client";
import type { AclItem, AclPermission } from "../../../api/schema";
import { ConfirmModal, notifyDone } from "../../../components/confirm";
import { Cut } from "../../../components/Cut";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { useDirectory } from "../identity/directory";
import { PrincipalSelect } from "../identity/PrincipalSelect";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { Section } from "../parts/Section";
import { useTarget } from "../parts/useTarget";
import { refreshSecrets, useAcls } from "./queries";

const LEVELS: AclPermission[] = ["READ", "WRITE", "MANAGE"];

/** Who may do what with a scope; only those who manage it see and change that. */
export function ScopeAcls({ scope }: { scope: string }) {
  const { t } = useTranslation(["settings", "common"]);
  const acls = useAcls(scope);
  const directory = useDirectory();
  const [granting, grant] = useDisclosure();
  const changing = useTarget<AclItem>();
  const removing = useTarget<AclItem>();
  const shown = (principal: string) => directory.find(principal)?.shown ?? principal;

  if (acls.isError) {
    const forbidden = acls.error instanceof ApiError && acls.error.status === 403;
    if (!forbidden) return <ErrorPanel error={acls.error} retry={() => void acls.refetch()} />;
    return (
      <Text size="sm" c="dimmed">
        {t("acls.notManager")}
      </Text>
    );
  }

  const columns: Column<AclItem>[] = [
    {
      key: "principal",
      title: t("acls.principal"),
      sortBy: (acl) => shown(acl.principal),
      width: "40%",
      minWidth: 140,
      cell: (acl) => <Cut width="100%" text={shown(acl.principal)} />,
    },
    {
      key: "kind",
      title: t("kind"),
      cell: (acl) => {
        const kind = directory.find(acl.principal)?.kind;
        return kind ? t(`kind1.${kind}`) : "–";
      },
    },
    { key: "permission", title: t("acls.permission"), sortBy: (acl) => LEVELS.indexOf(acl.permission), cell: (acl) => acl.permission },
    {
      key: "actions",
      title: t("actions"),
      titleHidden: true,
      align: "right",
      cell: (acl) => (
        <Group gap={6} wrap="nowrap" justify="flex-end">
          <Button
            size="compact-sm"
            variant="default"
            onClick={() => changing.ask(acl)}
            aria-label={t("acls.changeNamed", { name: shown(acl.principal) })}
          >
            {t("common:edit")}
          </Button>
          <Button
            size="compact-sm"
            variant="default"
            onClick={() => removing.ask(acl)}
            aria-label={t("acls.removeNamed", { name: shown(acl.principal) })}
          >
            {t("common:remove")}
          </Button>
        </Group>
      ),
    },
  ];

  return (
    <Section title={t("acls.title")} hint={t("acls.hint")} actions={<Button onClick={grant.open}>{t("acls.grant")}</Button>}>
      <DataTable
        columns={columns}
        rows={acls.data}
        rowKey={(acl) => acl.principal}
        label={t("acls.title")}
        defaultSort="principal"
        prefix="acl-"
        empty={<EmptyState title={t("acls.none")}>{t("acls.noneHint")}</EmptyState>}
      />
      <FormModal opened={granting} close={grant.close} title={t("acls.grant")}>
        <PutAcl scope={scope} close={grant.close} held={acls.data ?? []} />
      </FormModal>
      <FormModal
        opened={changing.opened}
        close={changing.close}
        title={t("acls.changeNamed", { name: changing.target && shown(changing.target.principal) })}
      >
        <PutAcl scope={scope} close={changing.close} held={[]} acl={changing.target} />
      </FormModal>
      <ConfirmModal
        opened={removing.opened}
        close={removing.close}
        title={t("acls.removeTitle")}
        action={t("common:remove")}
        run={async () => {
          if (!removing.target) return;
          await unwrap(client.POST("/api/2.0/secrets/acls/delete", { body: { scope, principal: removing.target.principal } }));
          await refreshSecrets();
          notifyDone(t("common:saved"));
        }}
      >
        {t("acls.removeQuestion", { name: removing.target && shown(removing.target.principal), scope })}
      </ConfirmModal>
    </Section>
  );
}

/** Gives a principal a level, or changes the one that it has. */
function PutAcl({ scope, close, held, acl }: { scope: string; close: () => void; held: AclItem[]; acl?: AclItem }) {
  const { t } = useTranslation(["settings", "common"]);
  const [principal, setPrincipal] = useState<string | null>(acl?.principal ?? null);
  const [permission, setPermission] = useState<AclPermission>(acl?.permission ?? "READ");
  const label = useId();

  async function run() {
    if (!principal) return;
    await unwrap(client.POST("/api/2.0/secrets/acls/put", { body: { scope, principal, permission } }));
    await refreshSecrets();
    notifyDone(t("common:saved"));
    close();
  }

  return (
    <SubmitForm fields={["principal", "permission"]} action={t("common:save")} cancel={close} run={run} disabled={!principal}>
      {(said) => (
        <>
          {!acl && (
            <PrincipalSelect
              label={t("acls.principal")}
              by="name"
              value={principal}
              onChange={setPrincipal}
              without={(one) => held.some((other) => other.principal === one.name)}
              error={said("principal")}
            />
          )}
          <Stack gap={4}>
            <Input.Label labelElement="div" id={label}>
              {t("acls.permission")}
            </Input.Label>
            <SegmentedControl data={LEVELS} value={permission} onChange={setPermission} aria-labelledby={label} />
            <Text size="sm" c="dimmed">
              {t(`acls.levels.${permission}`)}
            </Text>
          </Stack>
        </>
      )}
    </SubmitForm>
  );
}
