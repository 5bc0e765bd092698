import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";

/** What an endpoint is asked for, in words; the API's own name of it is in the title. */
export function Task({ task }: { task?: string | null }) {
  const { t, i18n } = useTranslation("serving");
  if (!task) {
    return (
      <Text span size="sm" c="dimmed">
        –
      </Text>
    );
  }
  const key = `task.${task.replaceAll("/", "_")}`;
  return (
    <Text span size="sm" title={task} style={{ whiteSpace: "nowrap" }}>
      {i18n.exists(key, { ns: "serving" }) ? t(key) : task}
    </Text>
  );
}
