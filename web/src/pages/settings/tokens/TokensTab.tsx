import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import { useSession } from "../../../api/queries";
import { Cut } from "../../../components/Cut";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { UrlSearch, useUrlValue } from "../../../components/UrlSearch";
import { useDirectory } from "../identity/directory";
import { Section } from "../parts/Section";
import { GenerateToken, type WantedToken } from "./GenerateToken";
import { refreshTokens, revokeAnybodys, useAllTokens, useOwnTokens } from "./queries";
import { TokenTable } from "./TokenTable";

async function make(wanted: WantedToken): Promise<string> {
  const made = await unwrap(client.POST("/api/2.0/token/create", { body: { ...wanted, scopes: [] } }));
  await refreshTokens();
  return made.token_value;
}

async function revokeOwn(token_id: string): Promise<void> {
  await unwrap(client.POST("/api/2.0/token/delete", { body: { token_id } }));
  await refreshTokens();
}

export default function TokensTab() {
  const { t } = useTranslation("settings");
  const session = useSession();
  const own = useOwnTokens();
  const [opened, { open, close }] = useDisclosure();
  const generate = <Button onClick={open}>{t("tokens.generate")}</Button>;
  return (
    <>
      <Section title={t("tokens.own")} hint={t("tokens.ownHint")} actions={own.data?.length === 0 ? undefined : generate}>
        {own.isError ? (
          <ErrorPanel error={own.error} retry={() => void own.refetch()} />
        ) : (
          <TokenTable
            tokens={own.data}
            label={t("tokens.own")}
            revoke={(token) => revokeOwn(token.token_id)}
            empty={
              <EmptyState title={t("tokens.none")} action={generate}>
                {t("tokens.noneHint")}
              </EmptyState>
            }
          />
        )}
      </Section>
      {session.data?.is_admin && <EverybodysTokens />}
      <GenerateToken opened={opened} close={close} title={t("tokens.generate")} make={make} />
    </>
  );
}

function EverybodysTokens() {
  const { t } = useTranslation("settings");
  const tokens = useAllTokens();
  const directory = useDirectory();
  const [wanted] = useUrlValue("q");
  const ownerOf = (id: number) => directory.nameOf(String(id));
  const needle = wanted.toLowerCase();
  const found = tokens.data?.filter((token) =>
    [token.comment, token.token_id, token.created_by_username, ownerOf(token.owner_id)].some((text) => text.toLowerCase().includes(needle)),
  );
  return (
    <Section title={t("tokens.all")} hint={t("tokens.allHint")} actions={<UrlSearch label={t("tokens.search")} />}>
      {tokens.isError ? (
        <ErrorPanel error={tokens.error} retry={() => void tokens.refetch()} />
      ) : (
        <TokenTable
          tokens={found}
          label={t("tokens.all")}
          prefix="all-"
          revoke={(token) => revokeAnybodys(token.token_id)}
          more={[
            {
              key: "owner",
              title: t("tokens.owner"),
              sortBy: (token) => ownerOf(token.owner_id),
              width: "14%",
              minWidth: 110,
              cell: (token) => <Cut width="100%" text={ownerOf(token.owner_id)} />,
            },
            {
              key: "maker",
              title: t("tokens.maker"),
              sortBy: (token) => token.created_by_username,
              width: "14%",
              minWidth: 110,
              cell: (token) => <Cut width="100%" text={token.created_by_username} />,
            },
          ]}
          empty={<EmptyState title={t("noMatch")}>{t("noMatchHint")}</EmptyState>}
        />
      )}
    </Section>
  );
}
