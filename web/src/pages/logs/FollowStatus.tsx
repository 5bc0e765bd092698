import { Button, Group, Loader, Text } from "@mantine/core";
import { IconCircleCheck, IconCircleFilled, IconPlugConnectedX } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { FollowState } from "../../api/follow";

function StateIcon({ state }: { state: FollowState }) {
  switch (state) {
    case "connecting":
      return <Loader size={12} aria-hidden />;
    case "open":
      return <IconCircleFilled size={10} color="var(--mantine-color-green-7)" aria-hidden />;
    case "ended":
      return <IconCircleCheck size={14} color="var(--mantine-color-gray-6)" aria-hidden />;
    case "lost":
      return <IconPlugConnectedX size={14} color="var(--mantine-color-red-7)" aria-hidden />;
  }
}

/** Whether what is shown still grows. */
export function FollowStatus({ state, retry }: { state: FollowState; retry?: () => void }) {
  const { t } = useTranslation(["observe", "common"]);
  return (
    <Group gap={6} wrap="nowrap" data-testid="follow-state" data-state={state}>
      <StateIcon state={state} />
      <Text size="sm" role="status" style={{ whiteSpace: "nowrap" }}>
        {t(`follow.${state}`)}
      </Text>
      {state === "lost" && retry && (
        <Button size="compact-xs" variant="default" onClick={retry}>
          {t("common:error.retry")}
        </Button>
      )}
    </Group>
  );
}
