import { Alert, Stack, Text } from "@mantine/core";
import { IconAlertCircle } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { CodeBlock } from "../../components/Copy";
import type { Problem } from "./invoke";

/** A failure in the server's words, with the model's traceback where the caller may see it. */
export function ProblemAlert({ problem, children }: { problem: Problem; children?: ReactNode }) {
  const { t } = useTranslation("query");
  return (
    <Alert
      role="alert"
      color="red"
      icon={<IconAlertCircle size={18} />}
      title={problem.code || t("noAnswer")}
      styles={{ body: { minWidth: 0 } }}
    >
      <Stack gap="xs" align="stretch">
        <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
          {problem.message}
        </Text>
        {problem.stackTrace && <CodeBlock code={problem.stackTrace} label={t("stackTrace")} maxHeight={320} />}
        {children}
      </Stack>
    </Alert>
  );
}
