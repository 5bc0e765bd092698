import { Alert, Divider, Stack } from "@mantine/core";
import { IconLock } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { EndpointDetail } from "../../../api/schema";
import { GatewaySection } from "./GatewaySection";
import { NotificationsSection } from "./NotificationsSection";
import { PermissionsSection } from "./PermissionsSection";
import { RateLimitsSection } from "./RateLimitsSection";
import { TagsSection } from "./TagsSection";

/** What is changed of an endpoint beside what it serves: at once, and each part by itself. */
export default function SettingsTab({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("endpoint");
  if (endpoint.permission_level !== "CAN_MANAGE") {
    return (
      <Alert color="gray" icon={<IconLock size={18} />} title={t("settings.forbidden")}>
        {t("settings.forbiddenHint", { level: endpoint.permission_level, creator: endpoint.creator })}
      </Alert>
    );
  }
  return (
    <Stack gap="lg" maw={920}>
      <PermissionsSection endpoint={endpoint} />
      <Divider />
      <RateLimitsSection endpoint={endpoint} />
      <Divider />
      <GatewaySection endpoint={endpoint} />
      <Divider />
      <NotificationsSection endpoint={endpoint} />
      <Divider />
      <TagsSection endpoint={endpoint} />
    </Stack>
  );
}
