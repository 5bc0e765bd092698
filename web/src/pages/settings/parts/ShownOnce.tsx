import { Alert, Box, Button, Group, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { CopyIcon } from "../../../components/Copy";

interface Props {
  /** Each is shown whole and can be copied. */
  values: { label: string; value: string }[];
  warning: string;
  done: () => void;
}

/** A value that the server tells this one time. */
export function ShownOnce({ values, warning, done }: Props) {
  const { t } = useTranslation("settings");
  return (
    <Stack gap="sm">
      <Alert color="yellow" icon={<IconAlertTriangle size={18} />}>
        {warning}
      </Alert>
      {values.map(({ label, value }) => (
        <Box key={label}>
          <Text size="sm" fw={500}>
            {label}
          </Text>
          <Group
            gap="xs"
            wrap="nowrap"
            px="sm"
            py={6}
            justify="space-between"
            bd="1px solid var(--mantine-color-default-border)"
            style={{ borderRadius: "var(--mantine-radius-sm)" }}
          >
            <code className="mono" aria-label={label}>
              {value}
            </code>
            <CopyIcon value={value} label={t("copyNamed", { name: label })} />
          </Group>
        </Box>
      ))}
      <Group justify="flex-end">
        <Button onClick={done}>{t("done")}</Button>
      </Group>
    </Stack>
  );
}
