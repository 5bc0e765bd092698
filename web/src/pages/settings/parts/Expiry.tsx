import { Badge, Group, Text } from "@mantine/core";
import { IconAlertTriangle, IconCircleXFilled } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { TimeAgo } from "../../../components/Time";

const SOON_MS = 7 * 24 * 3600 * 1000;

/** When something ends (milliseconds since the epoch; -1 is never), marked where that is soon or was. */
export function Expiry({ at }: { at: number }) {
  const { t } = useTranslation("settings");
  if (at < 0) return <Text inherit>{t("expiry.never")}</Text>;
  const left = at - Date.now();
  return (
    <Group gap={6} wrap="nowrap">
      <TimeAgo at={at} />
      {left <= 0 ? (
        <Badge
          variant="default"
          tt="none"
          style={{ flex: "none" }}
          leftSection={<IconCircleXFilled size={12} color="var(--mantine-color-red-7)" aria-hidden />}
        >
          {t("expiry.expired")}
        </Badge>
      ) : (
        left < SOON_MS && (
          <Badge
            variant="default"
            tt="none"
            style={{ flex: "none" }}
            leftSection={<IconAlertTriangle size={12} color="var(--mantine-color-orange-7)" aria-hidden />}
          >
            {t("expiry.soon")}
          </Badge>
        )
      )}
    </Group>
  );
}

/** For sorting: what never ends comes last. */
export function expiryOrder(at: number): number {
  return at < 0 ? Number.MAX_SAFE_INTEGER : at;
}
