import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import type { ScimServicePrincipal } from "../../../api/schema";
import { EmptyState } from "../../../components/EmptyState";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { Section } from "../parts/Section";
import { GenerateToken, type WantedToken } from "../tokens/GenerateToken";
import { refreshTokens, revokeAnybodys, useAllTokens } from "../tokens/queries";
import { TokenTable } from "../tokens/TokenTable";

/** Access tokens that admins made for a service principal. */
export function ServicePrincipalTokens({ principal }: { principal: ScimServicePrincipal }) {
  const { t } = useTranslation("settings");
  const tokens = useAllTokens();
  const [opened, { open, close }] = useDisclosure();
  const own = tokens.data?.filter((token) => String(token.owner_id) === principal.id);
  const button = principal.active && <Button onClick={open}>{t("tokens.generate")}</Button>;

  async function make(wanted: WantedToken): Promise<string> {
    const made = await unwrap(
      client.POST("/api/2.0/token-management/on-behalf-of/tokens", {
        body: { ...wanted, application_id: principal.applicationId, scopes: [] },
      }),
    );
    await refreshTokens();
    return made.token_value;
  }

  return (
    <Section title={t("tabs.tokens")} hint={t("principals.tokensHint")} actions={own && own.length > 0 ? button : undefined}>
      {tokens.isError ? (
        <ErrorPanel error={tokens.error} retry={() => void tokens.refetch()} />
      ) : (
        <TokenTable
          tokens={own}
          label={t("tabs.tokens")}
          prefix="tokens-"
          revoke={(token) => revokeAnybodys(token.token_id)}
          empty={<EmptyState title={t("principals.noTokens")} action={button} />}
        />
      )}
      <GenerateToken opened={opened} close={close} title={t("tokens.generate")} make={make} />
    </Section>
  );
}
