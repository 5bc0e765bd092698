import { Stack, Text, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { CodeTabs } from "../../components/Copy";
import type { Call } from "./documents";
import { asCurl, asJson, asPython } from "./snippets";

/** What the form would send, as a document, a program and a command. */
export function CodePreview({ calls, name }: { calls: Call[]; name: string }) {
  const { t } = useTranslation("form");
  const host = window.location.origin;
  const withKeys = calls.some((call) => JSON.stringify(call.body).includes("_plaintext"));
  return (
    <Stack gap="xs" component="section" aria-labelledby="as-code">
      <Title order={2} id="as-code">
        {t("code.title")}
      </Title>
      {calls.length ? (
        <CodeTabs
          items={[
            { label: "JSON", code: asJson(calls) },
            { label: "Python SDK", code: asPython(calls, name, host) },
            { label: "curl", code: asCurl(calls, host) },
          ]}
        />
      ) : (
        <Text size="sm" c="dimmed">
          {t("code.nothing")}
        </Text>
      )}
      {withKeys && (
        <Text size="xs" c="dimmed">
          {t("code.keys")}
        </Text>
      )}
    </Stack>
  );
}
