import { Anchor, Stack, Text, Title } from "@mantine/core";
import { Trans, useTranslation } from "react-i18next";
import { Link } from "react-router";
import { CodeTabs } from "../../components/Copy";
import { type CodeRequest, codeSamples } from "./code";

/** The request as a program, and where the token for it comes from. */
export function CodeSection(request: Omit<CodeRequest, "origin">) {
  const { t } = useTranslation("query");
  return (
    <Stack gap="xs" component="section" aria-label={t("code.title")} miw={0}>
      <Title order={2}>{t("code.title")}</Title>
      <Text size="sm" c="dimmed">
        <Trans
          t={t}
          i18nKey="code.hint"
          components={{ tokens: <Anchor component={Link} to="/settings/tokens" inherit underline="always" /> }}
        />
      </Text>
      <CodeTabs items={codeSamples({ ...request, origin: window.location.origin })} />
    </Stack>
  );
}
