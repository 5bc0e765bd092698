import { Alert, Anchor, Button, Group, Stack, Text } from "@mantine/core";
import { IconAlertCircle, IconLock } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { ApiError } from "../api/client";

/** Why something cannot be shown: forbidden, not there, or failed with the server's own words and a way to try again. */
export function ErrorPanel({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useTranslation();
  const known = error instanceof ApiError ? error : null;
  const forbidden = known?.status === 403;
  const title = forbidden ? t("error.forbidden") : known?.status === 404 ? t("error.notFound") : t("error.failed");
  const said = error instanceof Error ? error.message : String(error);
  return (
    <Alert
      role="alert"
      color={forbidden ? "gray" : "red"}
      icon={forbidden ? <IconLock size={18} /> : <IconAlertCircle size={18} />}
      title={title}
      my="md"
    >
      <Stack gap="xs" align="flex-start">
        <Text size="sm">{said}</Text>
        <Group gap="sm">
          {retry && !forbidden && (
            <Button size="xs" variant="default" onClick={retry}>
              {t("error.retry")}
            </Button>
          )}
          {known?.status === 404 && (
            <Anchor component={Link} to="/ml/endpoints" size="sm">
              {t("error.toServing")}
            </Anchor>
          )}
        </Group>
      </Stack>
    </Alert>
  );
}
