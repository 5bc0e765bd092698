import { Button, Radio, Stack, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useSearchParams } from "react-router";
import { client, unwrap } from "../../../api/client";
import type { SecretScopeOutput } from "../../../api/schema";
import { notifyDone } from "../../../components/confirm";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { UrlSearch, useUrlValue } from "../../../components/UrlSearch";
import { NameLink } from "../identity/PrincipalCells";
import { EVERYBODY } from "../identity/scim";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { Section } from "../parts/Section";
import { refreshSecrets, useScopes } from "./queries";
import { ScopeDetail } from "./ScopeDetail";

export default function SecretsTab() {
  const [params] = useSearchParams();
  const scope = params.get("scope");
  return scope ? <ScopeDetail scope={scope} /> : <Scopes />;
}

function Scopes() {
  const { t } = useTranslation("settings");
  const navigate = useNavigate();
  const scopes = useScopes();
  const [opened, { open, close }] = useDisclosure();
  const [wanted] = useUrlValue("q");
  const nothing = scopes.data?.length === 0;
  const found = scopes.data?.filter((scope) => scope.name.toLowerCase().includes(wanted.toLowerCase()));
  const button = <Button onClick={open}>{t("secrets.createScope")}</Button>;

  const columns: Column<SecretScopeOutput>[] = [
    {
      key: "name",
      title: t("secrets.scope"),
      width: "60%",
      minWidth: 150,
      sortBy: (scope) => scope.name,
      cell: (scope) => <NameLink name={scope.name} to={`?scope=${encodeURIComponent(scope.name)}`} />,
    },
    { key: "backend", title: t("secrets.backend"), sortBy: (scope) => scope.backend_type, cell: (scope) => scope.backend_type },
  ];

  return (
    <Section
      title={t("secrets.scopes")}
      hint={t("secrets.hint")}
      actions={
        !nothing && (
          <>
            <UrlSearch label={t("secrets.search")} />
            {button}
          </>
        )
      }
    >
      {scopes.isError ? (
        <ErrorPanel error={scopes.error} retry={() => void scopes.refetch()} />
      ) : (
        <DataTable
          columns={columns}
          rows={found}
          rowKey={(scope) => scope.name}
          label={t("secrets.scopes")}
          defaultSort="name"
          empty={
            nothing ? (
              <EmptyState title={t("secrets.noScopes")} action={button}>
                {t("secrets.noScopesHint")}
              </EmptyState>
            ) : (
              <EmptyState title={t("noMatch")}>{t("noMatchHint")}</EmptyState>
            )
          }
        />
      )}
      <FormModal opened={opened} close={close} title={t("secrets.createScope")}>
        <CreateScope close={close} created={(name) => void navigate(`?scope=${encodeURIComponent(name)}`)} />
      </FormModal>
    </Section>
  );
}

function CreateScope({ close, created }: { close: () => void; created: (name: string) => void }) {
  const { t } = useTranslation("settings");
  const [name, setName] = useState("");
  const [manager, setManager] = useState("me");

  async function run() {
    const scope = name.trim();
    const initial_manage_principal = manager === EVERYBODY ? EVERYBODY : null;
    await unwrap(
      client.POST("/api/2.0/secrets/scopes/create", { body: { scope, initial_manage_principal, scope_backend_type: "DATABRICKS" } }),
    );
    await refreshSecrets();
    notifyDone(t("secrets.scopeCreated", { name: scope }));
    close();
    created(scope);
  }

  return (
    <SubmitForm fields={["scope", "initial_manage_principal"]} action={t("create")} cancel={close} run={run}>
      {(said) => (
        <>
          <TextInput
            label={t("secrets.scopeName")}
            description={t("secrets.nameHint")}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            error={said("scope")}
            required
            autoComplete="off"
            data-autofocus
          />
          <Radio.Group label={t("secrets.managers")} value={manager} onChange={setManager} error={said("initial_manage_principal")}>
            <Stack gap={6} mt={4}>
              <Radio value="me" label={t("secrets.managerMe")} />
              <Radio value={EVERYBODY} label={t("secrets.managerEverybody")} />
            </Stack>
          </Radio.Group>
        </>
      )}
    </SubmitForm>
  );
}
