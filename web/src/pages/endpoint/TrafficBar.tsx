import { Group, Progress, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { percent } from "../../format";

/** The part of the traffic that an entity gets. */
export function TrafficBar({ value, name }: { value: number; name: string }) {
  const { t, i18n } = useTranslation("endpoint");
  return (
    <Group gap={8} wrap="nowrap">
      <Progress value={value} w={56} size="sm" aria-label={t("entity.trafficOf", { name })} />
      <Text inherit component="span" style={{ whiteSpace: "nowrap" }}>
        {percent(value, i18n.language, 0)}
      </Text>
    </Group>
  );
}
