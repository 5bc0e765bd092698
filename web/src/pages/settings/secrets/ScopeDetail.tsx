import { Button, Group } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { client, unwrap } from "../../../api/client";
import type { SecretMetadata } from "../../../api/schema";
import { ConfirmModal, notifyDone } from "../../../components/confirm";
import { CopyableText } from "../../../components/Copy";
import { Cut } from "../../../components/Cut";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { TimeAgo } from "../../../components/Time";
import { UrlSearch, useUrlValue } from "../../../components/UrlSearch";
import { BackLink } from "../parts/BackLink";
import { Section } from "../parts/Section";
import { useTarget } from "../parts/useTarget";
import { PutSecret } from "./PutSecret";
import { referenceOf, refreshScopes, refreshSecrets, useAcls, useSecrets } from "./queries";
import { ScopeAcls } from "./ScopeAcls";

/** The keys of a scope, never their values, and who may do what with it. */
export function ScopeDetail({ scope }: { scope: string }) {
  const { t } = useTranslation(["settings", "common"]);
  const navigate = useNavigate();
  const secrets = useSecrets(scope);
  const acls = useAcls(scope);
  const [wanted] = useUrlValue("q");
  const putting = useTarget<string>();
  const deletingKey = useTarget<string>();
  const [deletingScope, confirm] = useDisclosure();
  const back = <BackLink to="/settings/secrets" label={t("secrets.back")} />;
  if (secrets.isError) {
    return (
      <>
        {back}
        <ErrorPanel error={secrets.error} retry={() => void secrets.refetch()} />
      </>
    );
  }
  const nothing = secrets.data?.length === 0;
  const found = secrets.data?.filter(({ key }) => key.toLowerCase().includes(wanted.toLowerCase()));
  const add = <Button onClick={() => putting.ask("")}>{t("secrets.add")}</Button>;

  const columns: Column<SecretMetadata>[] = [
    {
      key: "key",
      title: t("secrets.key"),
      sortBy: ({ key }) => key,
      width: "28%",
      minWidth: 120,
      cell: ({ key }) => <Cut width="100%" text={key} mono />,
    },
    {
      key: "reference",
      title: t("secrets.reference"),
      width: "42%",
      minWidth: 160,
      cell: ({ key }) => <CopyableText value={referenceOf(scope, key)} label={t("secrets.copyReference", { name: key })} />,
    },
    {
      key: "updated",
      title: t("secrets.updated"),
      sortBy: (secret) => secret.last_updated_timestamp,
      cell: (secret) => <TimeAgo at={secret.last_updated_timestamp} />,
    },
    {
      key: "actions",
      title: t("actions"),
      titleHidden: true,
      align: "right",
      cell: ({ key }) => (
        <Group gap={6} wrap="nowrap" justify="flex-end">
          <Button
            size="compact-sm"
            variant="default"
            onClick={() => putting.ask(key)}
            aria-label={t("secrets.replaceNamed", { name: key })}
          >
            {t("secrets.replace")}
          </Button>
          <Button size="compact-sm" variant="default" onClick={() => deletingKey.ask(key)} aria-label={t("deleteNamed", { name: key })}>
            {t("common:delete")}
          </Button>
        </Group>
      ),
    },
  ];

  async function dropScope() {
    await unwrap(client.POST("/api/2.0/secrets/scopes/delete", { body: { scope } }));
    void navigate("/settings/secrets");
    await refreshScopes();
    notifyDone(t("deleted", { name: scope }));
  }

  return (
    <>
      {back}
      <Section
        title={scope}
        hint={t("secrets.scopeHint")}
        actions={
          <>
            {!nothing && <UrlSearch label={t("secrets.searchKeys")} />}
            {!nothing && add}
            {acls.data && (
              <Button variant="default" c="var(--mantine-color-error)" onClick={confirm.open}>
                {t("secrets.deleteScope")}
              </Button>
            )}
          </>
        }
      >
        <DataTable
          columns={columns}
          rows={found}
          rowKey={({ key }) => key}
          label={t("secrets.keysOf", { name: scope })}
          defaultSort="key"
          empty={
            nothing ? (
              <EmptyState title={t("secrets.noKeys")} action={add}>
                {t("secrets.noKeysHint", { reference: referenceOf(scope, "key") })}
              </EmptyState>
            ) : (
              <EmptyState title={t("noMatch")}>{t("noMatchHint")}</EmptyState>
            )
          }
        />
      </Section>
      <ScopeAcls scope={scope} />
      <PutSecret opened={putting.opened} close={putting.close} scope={scope} secretKey={putting.target ?? ""} />
      <ConfirmModal
        opened={deletingKey.opened}
        close={deletingKey.close}
        title={t("secrets.deleteKeyTitle")}
        action={t("common:delete")}
        run={async () => {
          if (!deletingKey.target) return;
          await unwrap(client.POST("/api/2.0/secrets/delete", { body: { scope, key: deletingKey.target } }));
          await refreshSecrets();
          notifyDone(t("deleted", { name: deletingKey.target }));
        }}
      >
        {t("secrets.deleteKeyQuestion", { reference: referenceOf(scope, deletingKey.target ?? "") })}
      </ConfirmModal>
      <ConfirmModal
        opened={deletingScope}
        close={confirm.close}
        title={t("secrets.deleteScope")}
        action={t("common:delete")}
        typed={scope}
        run={dropScope}
      >
        {t("secrets.deleteScopeQuestion", { name: scope })}
      </ConfirmModal>
    </>
  );
}
