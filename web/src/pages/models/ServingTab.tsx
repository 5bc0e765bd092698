import { Alert, Anchor, Button, Group, Stack, Tabs, Text, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { useEndpoint } from "../../api/queries";
import { ConfirmModal, errorText, notifyDone } from "../../components/confirm";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageSkeleton } from "../../components/PageSkeleton";
import { useUrlValue } from "../../components/UrlSearch";
import { type ByStage, disableServing, enableServing, isPending, useByStage } from "./byStage";
import { ComputeSettings } from "./ComputeSettings";
import { ModelEvents } from "./ModelEvents";
import { ServedVersions } from "./ServedVersions";
import { ServiceMark } from "./ServiceMark";

const VIEWS = ["versions", "events", "compute"] as const;

/** A model's serving by stage, the older API: how to begin, and all there is once it has begun. */
export function ServingTab({ name }: { name: string }) {
  // While it is being disabled nothing asks for it: the answer would be that it is gone.
  const [disabling, setDisabling] = useState(false);
  const served = useByStage(name, !disabling);
  if (served.isPending) return <PageSkeleton />;
  if (served.data === undefined) return <ErrorPanel error={served.error} retry={() => void served.refetch()} />;
  if (!served.data) return <NotEnabled name={name} />;
  return <Enabled name={name} served={served.data} disabling={disabling} setDisabling={setDisabling} />;
}

function NotEnabled({ name }: { name: string }) {
  const { t } = useTranslation("models");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  async function enable() {
    setBusy(true);
    setProblem("");
    try {
      await enableServing(name);
      notifyDone(t("enable.done"));
    } catch (error) {
      setProblem(errorText(error));
    } finally {
      setBusy(false);
    }
  }
  return (
    <Stack gap="sm" align="flex-start" maw={720}>
      <Title order={2}>{t("enable.title")}</Title>
      <Text size="sm">{t("enable.what")}</Text>
      <Text size="sm" c="dimmed">
        {t("enable.older")}{" "}
        <Anchor component={Link} to={`/ml/endpoints/create?${new URLSearchParams({ model: name })}`} underline="always">
          {t("enable.newer")}
        </Anchor>
      </Text>
      {problem && (
        <Alert color="red" role="alert">
          {problem}
        </Alert>
      )}
      <Button loading={busy} onClick={() => void enable()}>
        {t("enable.action")}
      </Button>
    </Stack>
  );
}

interface EnabledProps {
  name: string;
  served: ByStage;
  disabling: boolean;
  setDisabling: (disabling: boolean) => void;
}

function Enabled({ name, served, disabling, setDisabling }: EnabledProps) {
  const { t } = useTranslation("models");
  const { status } = served;
  const [view, setView] = useUrlValue("view", VIEWS[0]);
  const [asking, { open, close }] = useDisclosure();
  // Who manages the model manages its endpoint, and nobody else does.
  const endpoint = useEndpoint(status.endpoint_name, !disabling);
  const manages = endpoint.data?.permission_level === "CAN_MANAGE";
  const current = VIEWS.find((one) => one === view) ?? VIEWS[0];
  async function disable() {
    setDisabling(true);
    try {
      await disableServing(status);
      notifyDone(t("disable.done"));
    } finally {
      setDisabling(false);
    }
  }
  return (
    <>
      <Group justify="space-between" gap="sm" mb="md" align="flex-start">
        <Stack gap={4} miw={0} style={{ flex: "1 1 20rem" }}>
          <Group gap="xs" wrap="nowrap" align="flex-start" data-testid="serving-status">
            <Text size="sm" c="dimmed">
              {t("status")}
            </Text>
            <ServiceMark state={status.state} message={status.state_message} />
          </Group>
          <Group gap="xs">
            <Text size="sm" c="dimmed">
              {t("endpoint")}
            </Text>
            <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(status.endpoint_name)}`} size="sm">
              {status.endpoint_name}
            </Anchor>
          </Group>
        </Stack>
        {manages && (
          <Button variant="default" onClick={open}>
            {t("disable.action")}
          </Button>
        )}
      </Group>
      <ConfirmModal
        opened={asking}
        close={close}
        title={t("disable.title", { name })}
        action={t("disable.action")}
        run={disable}
      >
        {t("disable.text")}
      </ConfirmModal>
      {!disabling && (
        <Tabs value={current} onChange={(to) => to && setView(to)} variant="outline" keepMounted={false}>
          <Tabs.List mb="md">
            {VIEWS.map((one) => (
              <Tabs.Tab key={one} value={one}>
                {t(`view.${one}`)}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          <Tabs.Panel value="versions">
            <ServedVersions name={name} served={served} />
          </Tabs.Panel>
          <Tabs.Panel value="events">
            <ModelEvents name={name} versions={served.versions.map((one) => one.endpoint_version_name)} pending={isPending(served)} />
          </Tabs.Panel>
          <Tabs.Panel value="compute">
            <ComputeSettings name={name} served={served} />
          </Tabs.Panel>
        </Tabs>
      )}
    </>
  );
}
