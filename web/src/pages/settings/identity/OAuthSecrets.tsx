import { Button, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import { queryClient } from "../../../api/queries";
import type { ClientSecretInfo, ScimServicePrincipal } from "../../../api/schema";
import { ConfirmModal, notifyDone } from "../../../components/confirm";
import { type Column, DataTable } from "../../../components/DataTable";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { TimeAgo } from "../../../components/Time";
import { Expiry } from "../parts/Expiry";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { DAY_SECONDS, LifetimeInput } from "../parts/LifetimeInput";
import { Section } from "../parts/Section";
import { ShownOnce } from "../parts/ShownOnce";
import { useTarget } from "../parts/useTarget";

const MOST_DAYS = 730;
const PATH = "/api/2.0/accounts/servicePrincipals/{service_principal_id}/credentials/secrets";

/** The secrets that a service principal signs in with over OAuth; their text only when one is made. */
export function OAuthSecrets({ principal }: { principal: ScimServicePrincipal }) {
  const { t } = useTranslation(["settings", "common"]);
  const [generating, generate] = useDisclosure();
  const deleting = useTarget<ClientSecretInfo>();
  const secrets = useQuery({
    queryKey: ["oauth-secrets", principal.id],
    queryFn: async () => (await unwrap(client.GET(PATH, { params: { path: { service_principal_id: principal.id } } }))).secrets,
  });

  const columns: Column<ClientSecretInfo>[] = [
    {
      key: "id",
      title: t("identity.id"),
      cell: (secret) => (
        <Text span className="mono">
          {secret.id}
        </Text>
      ),
    },
    {
      key: "created",
      title: t("created"),
      sortBy: (secret) => Date.parse(secret.create_time),
      cell: (secret) => <TimeAgo at={Date.parse(secret.create_time)} />,
    },
    {
      key: "expires",
      title: t("expires"),
      sortBy: (secret) => Date.parse(secret.expire_time),
      cell: (secret) => <Expiry at={Date.parse(secret.expire_time)} />,
    },
    {
      key: "delete",
      title: t("actions"),
      titleHidden: true,
      align: "right",
      cell: (secret) => (
        <Button
          size="compact-sm"
          variant="default"
          onClick={() => deleting.ask(secret)}
          aria-label={t("deleteNamed", { name: secret.id })}
        >
          {t("common:delete")}
        </Button>
      ),
    },
  ];

  const button = <Button onClick={generate.open}>{t("oauth.generate")}</Button>;
  return (
    <Section title={t("oauth.title")} hint={t("oauth.hint")} actions={secrets.data && secrets.data.length > 0 ? button : undefined}>
      {secrets.isError ? (
        <ErrorPanel error={secrets.error} retry={() => void secrets.refetch()} />
      ) : (
        <DataTable
          columns={columns}
          rows={secrets.data}
          rowKey={(secret) => secret.id}
          label={t("oauth.title")}
          defaultSort="-created"
          prefix="oauth-"
          empty={
            <EmptyState title={t("oauth.none")} action={button}>
              {t("oauth.noneHint")}
            </EmptyState>
          }
        />
      )}
      <FormModal opened={generating} close={generate.close} title={t("oauth.generate")} closeOnClickOutside={false}>
        <GenerateSecret principal={principal} close={generate.close} />
      </FormModal>
      <ConfirmModal
        opened={deleting.opened}
        close={deleting.close}
        title={t("oauth.deleteTitle")}
        action={t("common:delete")}
        run={async () => {
          if (!deleting.target) return;
          const path = { service_principal_id: principal.id, secret_id: deleting.target.id };
          await unwrap(client.DELETE(`${PATH}/{secret_id}`, { params: { path } }));
          await queryClient.invalidateQueries({ queryKey: ["oauth-secrets", principal.id] });
          notifyDone(t("deleted", { name: deleting.target.id }));
        }}
      >
        {t("oauth.deleteQuestion")}
      </ConfirmModal>
    </Section>
  );
}

function GenerateSecret({ principal, close }: { principal: ScimServicePrincipal; close: () => void }) {
  const { t } = useTranslation("settings");
  const [days, setDays] = useState<number | "">(MOST_DAYS);
  const [text, setText] = useState<string>();

  async function run() {
    const made = await unwrap(
      client.POST(PATH, {
        params: { path: { service_principal_id: principal.id } },
        body: { lifetime: `${Number(days) * DAY_SECONDS}s`, scopes: [] },
      }),
    );
    setText(made.secret);
    await queryClient.invalidateQueries({ queryKey: ["oauth-secrets", principal.id] });
  }

  if (text !== undefined) {
    const values = [
      { label: t("oauth.clientId"), value: principal.applicationId },
      { label: t("oauth.secret"), value: text },
    ];
    return <ShownOnce values={values} warning={t("oauth.once")} done={close} />;
  }
  return (
    <SubmitForm fields={["lifetime"]} action={t("tokens.generateAction")} cancel={close} run={run}>
      {(said) => <LifetimeInput days={days} setDays={setDays} max={MOST_DAYS} error={said("lifetime")} />}
    </SubmitForm>
  );
}
